from collections.abc import Iterator

import pytest

from tests.server.serving_process import Serving
from tests.wire.siege import Siege, echo_folder, settings

# Short, so that tests that wait for a bound end soon, and long beside what a good client on a busy machine
# may take between two requests.
_BOUNDS = settings(
    http__header_timeout_seconds=1,
    http__body_timeout_seconds=1,
    http__idle_timeout_seconds=3,
    http__write_timeout_seconds=2,
    http__max_body_bytes=4 << 20,
    grpc__handshake_timeout_seconds=1,
    grpc__write_timeout_seconds=2,
    grpc__max_message_bytes=4 << 20,
    limits__max_buffered_bytes=1 << 30,
)


@pytest.fixture(scope="package")
def siege(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Siege]:
    with Serving(echo_folder(tmp_path_factory.mktemp("siege")), *_BOUNDS) as server:
        yield Siege.of(server)

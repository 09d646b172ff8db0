"""Very many connections that do nothing, and those that there is no room for."""

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.server.serving_process import Serving, until
from tests.wire.footprint import MEMORY_TELLS, Footprint, refused, until_back
from tests.wire.good_client import GrpcAsk, HttpAsk
from tests.wire.raw_client import connect, rest_of, status_of
from tests.wire.siege import GROWTH, Siege, echo_folder, good_clients, settings, trim

pytestmark = pytest.mark.core

_IDLE = 10_000
_SPARE = 500  # descriptors for everything else
_SOURCES = ("127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5")
_BESIDE = 50  # connections that are allowed beside the idle ones
_MOST_BYTES = 8192  # of memory that an idle connection may take


@pytest.fixture
def descriptors() -> Iterator[int]:
    """How many this process, and those that it starts, may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield _IDLE + _SPARE if hard == resource.RLIM_INFINITY else hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_good_clients_are_answered_when_ten_thousand_connections_idle_and_more_come(
    descriptors: int, tmp_path: Path
) -> None:
    number = min(_IDLE, descriptors - _SPARE) // len(_SOURCES) * len(_SOURCES)
    assert number >= 1000, f"{descriptors} file descriptors are too few to make a crowd (ulimit -Hn)"
    share = number // len(_SOURCES)
    bounds = settings(
        limits__max_connections=number + _BESIDE,
        limits__max_connections_per_client=share,
    )
    with Serving(echo_folder(tmp_path), *bounds) as server:
        siege = Siege.of(server)
        asks = HttpAsk(siege.http), GrpcAsk(siege.grpc)
        with good_clients(*asks), ExitStack() as crowd:
            for source in _SOURCES:
                for _ in range(share):
                    crowd.enter_context(connect(siege.http, source))
            until(lambda: _open_sockets(server, siege.before) >= number, "all have been taken")
            held = Footprint.of(server.pid).memory - siege.before.memory
            assert held <= GROWTH + number * _MOST_BYTES or not MEMORY_TELLS
            assert _refusals(siege.http, _SOURCES[0], 20) == 20
            assert refused(server, "http")["client_connections"] == 20
            # Somebody else takes the places that are left, and then there is none for anybody.
            beyond = _refusals(siege.http, "127.0.0.6", _BESIDE * 2)
            assert _BESIDE <= beyond < _BESIDE * 2
        trim(server)
        until_back(server.pid, siege.before, GROWTH)
        assert refused(server, "http")["connections"] == beyond


def _open_sockets(server: Serving, before: Footprint) -> int:
    return Footprint.of(server.pid).descriptors - before.descriptors - 2  # the good clients'


def _refusals(port: int, source: str, number: int) -> int:
    """Make so many connections more, as long as there is room; return how many were refused."""
    count = 0
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(port, source)) for _ in range(number)]
        for client in clients:
            client.settimeout(60)
            if _was_refused(client):
                count += 1
    return count


def _was_refused(client: socket.socket) -> bool:
    """Whether it is told to come again later, and not taken: then it is answered."""
    try:
        client.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: falaj\r\n\r\n")
        begin = client.recv(4096)
    except ConnectionError:
        return True
    if status_of(begin) == 200:
        return False
    told = begin + rest_of(client)
    # The kernel resets what was sent to a connection that was closed, and may take the answer with it.
    assert told == b"" or (status_of(told) == 503 and b"retry-after: 1" in told), told
    return True

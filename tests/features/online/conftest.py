"""The stores that the tests of this folder run on."""

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.features.online.fault_proxy import fault_proxy
from tests.features.online.redis_server import RedisServer, redis_server
from tests.features.online.store_engine import opened


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """A server of the module's own."""
    with redis_server() as server:
        yield server


@pytest.fixture(scope="module", params=["lmdb", "redis", "redis in pieces"])
def store_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A store of each kind, of the module's own."""
    if request.param == "redis":
        yield request.getfixturevalue("redis").url
        return
    if request.param == "redis in pieces":
        with redis_server() as server, fault_proxy(server.port) as proxy:
            proxy.does(_in_pieces)
            yield f"redis://127.0.0.1:{proxy.port}/3?timeout_ms=20000"
        return
    with TemporaryDirectory() as folder:
        yield f"lmdb://{folder}"


@pytest.fixture
def empty_url(store_url: str) -> str:
    """A store of each kind without any view."""
    store = opened(store_url)
    for name, version in store.views():
        store.drop_view(name, version)
    return store_url


@pytest.fixture(params=["lmdb", "redis"])
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """Of each kind, what makes the URL of an empty store from a name."""
    if request.param == "lmdb":
        return lambda name: f"lmdb://{tmp_path / name}"
    server = request.getfixturevalue("redis")
    server.ask("FLUSHALL")
    databases: dict[str, int] = {}
    return lambda name: server.database(databases.setdefault(name, len(databases)))


def _in_pieces(answer: bytes) -> list[bytes]:
    size = max(1, len(answer) // 3)
    return [answer[begin : begin + size] for begin in range(0, len(answer), size)]

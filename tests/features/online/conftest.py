"""The stores that the tests of this folder run on."""

from collections.abc import Iterator
from tempfile import TemporaryDirectory

import pytest

from tests.features.online.redis_server import RedisServer, redis_server
from tests.features.online.store_engine import opened


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """A server of the module's own."""
    with redis_server() as server:
        yield server


@pytest.fixture(scope="module", params=["lmdb", "redis"])
def store_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A store of each kind, of the module's own."""
    if request.param == "redis":
        yield request.getfixturevalue("redis").url
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

from collections.abc import Iterator

import pytest

from tests.conformance.clients.triton import KINDS, TritonClient
from tests.conformance.target import Target


@pytest.fixture(scope="module", params=KINDS)
def client(request: pytest.FixtureRequest, target: Target) -> Iterator[TritonClient]:
    """Each of tritonclient's four clients."""
    client = TritonClient(request.param, target)
    yield client
    client.close()


@pytest.fixture(scope="module", params=["http", "http_aio"])
def http_client(request: pytest.FixtureRequest, target: Target) -> Iterator[TritonClient]:
    """Those that speak HTTP."""
    client = TritonClient(request.param, target)
    yield client
    client.close()

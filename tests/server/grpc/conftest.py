from collections.abc import Iterator

import grpc
import pytest

import falaj
from tests import zoo
from tests.server.wire_serving import WireServing
from tests.serving import QUICK, add_model, add_python


@pytest.fixture(scope="package")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[falaj.Engine]:
    """An engine whose models stay as they are."""
    folder = tmp_path_factory.mktemp("models")
    add_model(folder, zoo.mlp(), QUICK)
    for version in (1, 3):
        add_python(folder, "two", head='versions = { policy = "all" }', version=version)
    add_python(folder, "broken", "raise RuntimeError('no good')")
    with falaj.Engine(folder, cores=2) as engine:
        yield engine


@pytest.fixture(scope="package")
def serving(engine: falaj.Engine) -> Iterator[WireServing]:
    with WireServing(engine) as serving:
        yield serving


@pytest.fixture
def channel(serving: WireServing) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(serving.url("grpc")) as channel:
        yield channel

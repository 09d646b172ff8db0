from collections.abc import Iterator

import pytest

import falaj
from falaj.server.api.app import make_app
from falaj.server.api.control_plane import ControlPlane
from tests import zoo
from tests.server.asking import Asking
from tests.serving import QUICK, add_model, add_python


@pytest.fixture(scope="package")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[falaj.Engine]:
    """An engine whose models stay as they are: of ONNX and of Python, batched and not, in two versions, one
    that cannot be loaded, one with a name that has to be encoded."""
    folder = tmp_path_factory.mktemp("models")
    for model in (zoo.mlp(), zoo.tokens(), zoo.no_batch(), zoo.transformer_encoder()):
        add_model(folder, model, QUICK)
    head = 'max_batch_size = 8\nversions = { policy = "all" }'
    for version in (1, 3):
        add_python(folder, "two", head=head, version=version)
    add_python(folder, "broken", "raise RuntimeError('no good')")
    add_python(folder, "name with % and ü", head="max_batch_size = 4")
    with falaj.Engine(folder, cores=2) as engine:
        yield engine


@pytest.fixture(scope="package")
def control(engine: falaj.Engine) -> Iterator[ControlPlane]:
    control = ControlPlane(engine)
    yield control
    control.close()


@pytest.fixture(scope="package")
def ask(control: ControlPlane) -> Iterator[Asking]:
    with Asking(make_app(control, None)) as ask:
        yield ask

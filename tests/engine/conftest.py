from collections.abc import Iterator

import pytest

import falaj
from tests import zoo
from tests.serving import QUICK, add_model


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[falaj.Engine]:
    """An engine with the models that tests of arguments, errors and lifecycles are about."""
    folder = tmp_path_factory.mktemp("models")
    models = [
        zoo.mlp(),
        zoo.tokens(),
        zoo.transformer_encoder(),
        zoo.trees_gbdt(),
        zoo.no_batch(),
        zoo.scalar_output(),
        zoo.gather_bad_index(),
        *(zoo.elementwise(datatype) for datatype in zoo.DATATYPES),
        *(zoo.identity(datatype, 2, seed=3) for datatype in zoo.DATATYPES),
    ]
    for model in models:
        add_model(folder, model, QUICK)
    with falaj.Engine(folder, cores=2, strict=True) as engine:
        yield engine

"""A converted model with request-time transforms in front answers as its original on what they give."""

from typing import Any

import lightgbm
import numpy as np
import pytest

from falaj.features.transform import transform
from falaj.features.transform.fuse import fuse
from falaj.training.graph.convert import to_onnx
from falaj.training.graph.tabular_original import codes, original_of_tabular
from falaj.training.original import Original
from falaj.training.tabular import Tabular
from tests.training.graph.answers import answer

_CITIES = ("Dubai", "Muscat", "")


@transform({"amount": "FP64", "income": "FP32"}, {"share": "FP32"})
def share(xp: Any, amount: Any, income: Any) -> Any:
    return xp.astype(amount / xp.astype(income, xp.float64), xp.float32)


@transform({"city": "BYTES", "twin": "BYTES"}, {"home": "BYTES"})
def home(xp: Any, city: Any, twin: Any) -> Any:
    return xp.where(city == "", twin, city)


def _columns(rows: int) -> dict[str, Any]:
    random = np.random.default_rng(0)
    texts = {name: random.choice([*_CITIES, "Petra"], rows).astype(object) for name in ("city", "twin")}
    return {
        "age": random.normal(size=rows).astype(np.float32),
        "income": random.lognormal(size=rows).astype(np.float32),
        "amount": random.normal(size=rows),
        **texts,
    }


@pytest.fixture(scope="module")
def original() -> Original:
    given = _columns(600)
    made = share(amount=given["amount"], income=given["income"])["share"]
    code = codes(_CITIES, home(city=given["city"], twin=given["twin"])["home"])
    matrix = np.stack([given["age"], made, given["income"], code], axis=1)
    settings = {"objective": "binary", "verbose": -1, "num_threads": 1}
    data = lightgbm.Dataset(matrix, (made > 0) ^ (code == 1), categorical_feature=[3])
    tabular = Tabular(lightgbm.train(settings, data, 10), ("age", "share", "income"), {"home": _CITIES})
    return original_of_tabular(tabular, task="binary", classes=(0, 1))


@pytest.mark.parametrize("rows", [0, 1, 200])
def test_column_of_the_matrix_comes_from_a_transform_when_fused(rows: int, original: Original) -> None:
    columns = list(original.inputs[0].columns)
    fused = fuse(to_onnx(original), [share, home], {"x": columns})
    assert {info.name for info in fused.graph.input} == {"amount", "income", "age", "city", "twin"}
    given = _columns(rows)
    made = share(amount=given["amount"], income=given["income"])["share"]
    x = np.stack([given["age"], made, given["income"]], axis=1)
    homes = home(city=given["city"], twin=given["twin"])["home"].reshape(-1, 1)
    expected = original.predict({"x": x, "home": homes})
    got = answer(fused, {name: of.reshape(-1, 1) for name, of in given.items()})
    np.testing.assert_array_equal(got["label"], expected["label"])
    np.testing.assert_array_equal(got["probabilities"], expected["probabilities"])

"""`baseline.json`: what is frozen of a model's inputs, features and outputs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from falaj.training.bundle.baseline import (
    Category,
    FeatureRows,
    Numbers,
    baseline_of,
    read_baseline,
    reference_of,
)
from falaj.training.errors import TrainingError
from falaj.training.original import Arrays, ModelInput, ModelOutput, Original


def texts(*values: str | None) -> NDArray[Any]:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def predict(inputs: Arrays) -> dict[str, NDArray[Any]]:
    score = 1 / (1 + np.exp(-inputs["x"][:, 0].astype(np.float64)))
    scores = np.column_stack([1 - score, score]).astype(np.float32)
    return {"label": scores.argmax(axis=1), "probabilities": scores}


ORIGINAL = Original(
    family="sklearn",
    task="binary",
    inputs=(
        ModelInput("x", "FP32", (2,), ("income", "age")),
        ModelInput("city", "BYTES", (1,), ("city",)),
        ModelInput("image", "FP32", (2, 2)),
    ),
    outputs=(
        ModelOutput("label", "INT64", (), "label"),
        ModelOutput("probabilities", "FP32", (2,), "scores"),
    ),
    model=None,
    predict=predict,
    classes=(0, 1),
)


def rows_of(count: int) -> dict[str, NDArray[Any]]:
    random = np.random.default_rng(0)
    x = random.normal(size=(count, 2)).astype(np.float32)
    x[:3, 1] = np.nan
    city = texts(*(["Dubai", "Sharjah", ""][i % 3] for i in range(count))).reshape(-1, 1)
    return {"x": x, "city": city, "image": random.random((count, 2, 2)).astype(np.float32)}


def feature(
    status: list[str], values: NDArray[Any], nulls: list[bool], datatype: str = "FP32"
) -> FeatureRows:
    return FeatureRows("account", 3, "income", datatype, np.array(status), values, np.array(nulls))


def test_baseline_has_each_column_and_class_when_it_is_frozen() -> None:
    rows = rows_of(90)
    found = baseline_of(ORIGINAL, rows, predict(rows))
    assert [(each.tensor, each.column, each.name) for each in found.inputs] == [
        ("x", 0, "income"),
        ("x", 1, "age"),
        ("city", 0, "city"),
        ("image", None, "image"),
    ]
    assert [(each.tensor, each.column, each.name) for each in found.outputs] == [
        ("label", 0, "label"),
        ("probabilities", 0, "0"),
        ("probabilities", 1, "1"),
    ]
    for each in (*found.inputs, *found.outputs):
        assert each.rows == 90
        assert each.reference.counts.total == (360 if each.name == "image" else 90)
    age, city, label = (found.inputs[1].reference, found.inputs[2].reference, found.outputs[0].reference)
    assert isinstance(age, Numbers)
    assert age.counts.missing == 3
    assert isinstance(city, Category)
    assert (city.levels.levels, city.counts.missing) == (("Dubai", "Sharjah"), 30)
    assert isinstance(label, Category)
    assert set(label.levels.levels) == {0, 1}


def test_baseline_is_the_same_when_it_is_read_back(tmp_path: Path) -> None:
    rows = rows_of(40)
    features = [
        feature(["present", "missing"], np.array([0.1, np.nan], np.float32), [False, True]),
        feature(["present", "expired"], texts("a", None), [False, True], "BYTES"),
    ]
    found = baseline_of(ORIGINAL, rows, predict(rows_of(7)), features)
    path = tmp_path / "baseline.json"
    path.write_text(found.text())
    assert read_baseline(path) == found
    assert found.outputs[0].rows == 7


def test_a_feature_has_statuses_and_nulls_apart_when_it_is_looked_up() -> None:
    statuses = ["present", "present", "missing", "expired", "expired"]
    values = np.array([1.5, 9.0, np.nan, 4.0, np.nan])
    rows = rows_of(5)
    (found,) = baseline_of(
        ORIGINAL, rows, predict(rows), [feature(statuses, values, [False, True, True, False, True])]
    ).features
    assert found.statuses == {"present": 2, "missing": 1, "expired": 2}
    assert found.nulls == 1
    assert found.reference.counts.missing == 4  # an expired row has a value that nobody is served
    assert found.reference.counts.total == 5


def test_a_text_feature_has_levels_when_none_is_present() -> None:
    rows = rows_of(2)
    (found,) = baseline_of(
        ORIGINAL, rows, predict(rows), [feature(["missing"] * 2, texts(None, None), [True] * 2, "BYTES")]
    ).features
    assert found.reference == reference_of(texts(None, None), "BYTES")
    assert found.reference.counts.missing == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.empty((0, 2), np.float32)}, "'x': expected at least one row, got none"),
        (
            {"x": np.ones((3, 4), np.float32)},
            r"'x': expected \['rows', 2\], got \[3, 4\]",
        ),
        ({"city": None}, "expected rows of 'city', there are those of x, image"),
    ],
)
def test_baseline_is_refused_when_rows_do_not_fit(change: dict[str, Any], message: str) -> None:
    rows: dict[str, Any] = {**rows_of(3), **change}
    given = {name: array for name, array in rows.items() if array is not None}
    with pytest.raises(TrainingError, match=message):
        baseline_of(ORIGINAL, given, predict(rows_of(3)))


def test_baseline_is_refused_when_a_status_is_unknown() -> None:
    rows = rows_of(1)
    with pytest.raises(TrainingError, match=r"feature account__income: status: expected .* got 'late'"):
        baseline_of(ORIGINAL, rows, predict(rows), [feature(["late"], np.array([1.0]), [False])])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a baseline"),
        ("[]", "not a baseline"),
        ('{"format": 2}', "format: expected 1, got 2"),
        ('{"format": 1, "inputs": [{"kind": "other"}]}', "not a baseline"),
    ],
)
def test_a_file_is_refused_when_it_is_no_baseline(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "baseline.json"
    path.write_text(text)
    with pytest.raises(TrainingError, match=message):
        read_baseline(path)


def test_a_file_is_strict_json_when_values_are_infinite() -> None:
    rows = rows_of(6)
    rows["x"][:, 0] = [np.inf, -np.inf, np.nan, 1, 2, 3]
    found = baseline_of(ORIGINAL, rows, predict(rows))

    def refuse(name: str) -> None:
        raise AssertionError(name)

    income = json.loads(found.text(), parse_constant=refuse)["inputs"][0]
    assert (income["infinite"], income["counts"]["missing"], income["minimum"]) == (2, 1, 1.0)
    assert sum(income["counts"]["coarse"]) == 5

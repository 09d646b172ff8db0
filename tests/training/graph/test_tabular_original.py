"""What an original of a table takes and gives, and what is refused."""

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from falaj.training.errors import TrainingError
from falaj.training.graph.tabular_original import codes, original_of_tabular
from falaj.training.tabular import Calibration, Tabular


def _model(columns: int, classes: int = 2) -> Any:
    x = np.random.default_rng(0).normal(size=(60, columns))
    return LogisticRegression().fit(x, np.arange(60) % classes)


def test_inputs_are_a_matrix_and_a_column_each_when_there_are_both() -> None:
    original = original_of_tabular(
        Tabular(_model(3), ("a", "b"), {"city": ("x", "y")}), task="binary", classes=("no", "yes")
    )
    told = [(one.name, one.datatype, one.shape, one.columns) for one in original.inputs]
    assert told == [("x", "FP32", (2,), ("a", "b")), ("city", "BYTES", (1,), ("city",))]
    assert [(one.name, one.datatype, one.shape) for one in original.outputs] == [
        ("label", "BYTES", ()),
        ("probabilities", "FP32", (2,)),
    ]
    answered = original.predict({"x": np.zeros((3, 2), np.float32), "city": np.array([["x"], ["y"], ["x"]])})
    assert set(answered["label"]) <= {"no", "yes"}
    np.testing.assert_allclose(answered["probabilities"].sum(axis=1), 1.0, atol=1e-6)


def test_matrix_is_left_out_when_there_are_no_numbers() -> None:
    original = original_of_tabular(Tabular(_model(1), (), {"city": ("a",)}), task="binary", classes=(0, 1))
    assert [one.name for one in original.inputs] == ["city"]


def test_codes_are_places_when_known_and_nan_otherwise() -> None:
    got = codes(("b", "", "a"), np.array([["a"], [""], ["A"], ["b"]], object))
    np.testing.assert_array_equal(got, np.array([[2], [1], [np.nan], [0]], np.float32))


@pytest.mark.parametrize(
    ("tabular", "task", "classes", "message"),
    [
        (Tabular(_model(2), ("a", "b")), "binary", (0, 1, 2), "classes: expected 2 of a binary model, got 3"),
        (Tabular(_model(2), ("a", "b")), "binary", (0, "1"), "expected different numbers or different texts"),
        (Tabular(_model(2), ("a", "b")), "regression", (0, 1), "expected no of a regression model, got 2"),
        (Tabular(_model(2), ("a", "b")), "other", (), "task: expected binary, multiclass or regression"),
        (Tabular(_model(2), ("a",), {"x": ("1",)}), "binary", (0, 1), "column 'x': rename it"),
        (Tabular(_model(2), ("a",), {"label": ("1",)}), "binary", (0, 1), "column 'label': rename it"),
        (Tabular(_model(2), ("a",), {"c": ()}), "binary", (0, 1), "category 'c': expected known values"),
        (Tabular(object(), ("a",)), "binary", (0, 1), "got a builtins.object"),
        (
            Tabular(_model(2, 3), ("a", "b"), calibration=Calibration("sigmoid")),
            "multiclass",
            (0, 1, 2),
            "calibration: expected a binary model, got multiclass",
        ),
    ],
)
def test_original_is_refused_when_its_parts_do_not_fit(
    tabular: Tabular, task: Any, classes: tuple[int | str, ...], message: str
) -> None:
    with pytest.raises(TrainingError, match=message):
        original_of_tabular(tabular, task=task, classes=classes)


def test_scores_are_refused_when_there_are_not_as_many_as_classes() -> None:
    original = original_of_tabular(Tabular(_model(2, 3), ("a", "b")), task="binary", classes=(0, 1))
    with pytest.raises(TrainingError, match="expected the scores of 2 classes, got 3 a row"):
        original.predict({"x": np.zeros((1, 2), np.float32)})


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((1, 3))}, r"input 'x': expected shape \[rows, 2\], got \[1, 3\]"),
        ({"y": np.zeros((1, 2))}, "input 'x': is absent; the inputs are x"),
    ],
)
def test_inputs_are_refused_when_absent_or_misshapen(arrays: Any, message: str) -> None:
    original = original_of_tabular(Tabular(_model(2), ("a", "b")), task="binary", classes=(0, 1))
    with pytest.raises(TrainingError, match=message):
        original.predict(arrays)

"""LightGBM's models answer as graphs what they answer themselves, to the bit."""

from typing import Any

import lightgbm
import numpy as np
import pytest

from falaj.training.errors import TrainingError
from falaj.training.graph.convert import to_onnx
from falaj.training.graph.tabular_original import original_of_tabular
from falaj.training.graph.target import Target, target_here
from falaj.training.original import Arrays, Original, Task
from falaj.training.tabular import Calibration, Tabular
from tests.training.graph import tables
from tests.training.graph.answers import answer, around_thresholds, assert_alike, with_extremes

_CLASSES: dict[Task, tuple[int | str, ...]] = {
    "binary": ("on time", "late"),
    "multiclass": (3, 5, 9),
    "regression": (),
}
# What is fitted, and on which of the targets.
_MODELS: dict[str, tuple[Task, str, dict[str, Any]]] = {
    "binary": ("binary", "binary", {"objective": "binary", "sigmoid": 1.7}),
    "zeros": ("binary", "binary", {"objective": "binary", "zero_as_missing": True}),
    "never_missing": ("binary", "binary", {"objective": "binary", "use_missing": False}),
    "dart": ("binary", "binary", {"objective": "binary", "boosting": "dart"}),
    "multiclass": ("multiclass", "multiclass", {"objective": "multiclass", "num_class": 3}),
    "ova": ("multiclass", "multiclass", {"objective": "multiclassova", "num_class": 3}),
    "regression": ("regression", "regression", {"objective": "regression"}),
    "roots": ("regression", "regression", {"objective": "regression", "reg_sqrt": True}),
    "poisson": ("regression", "positive", {"objective": "poisson"}),
    "forest": (
        "regression",
        "regression",
        {"objective": "regression", "boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5},
    ),
}
_SMALL = {"verbose": -1, "num_threads": 1, "num_leaves": 15, "min_data_per_group": 5, "cat_smooth": 1}


def _fitted(given: Arrays, settings: dict[str, Any], target: str) -> lightgbm.Booster:
    data = lightgbm.Dataset(tables.matrix(given), tables.targets(given)[target], categorical_feature=[4, 5])
    return lightgbm.train({**_SMALL, "max_cat_to_onehot": 2, **settings}, data, 30)


@pytest.fixture(scope="module")
def given() -> Arrays:
    return tables.arrays()


@pytest.fixture(scope="module")
def originals(given: Arrays) -> dict[str, Original]:
    made = {}
    for name, (task, target, settings) in _MODELS.items():
        tabular = Tabular(_fitted(given, settings, target), tables.NUMBERS, tables.CATEGORIES)
        made[name] = original_of_tabular(tabular, task=task, classes=_CLASSES[task])
    return made


@pytest.mark.parametrize("name", _MODELS)
def test_answers_are_the_same_bits_when_converted(
    name: str, originals: dict[str, Original], given: Arrays
) -> None:
    original = originals[name]
    assert_alike(original, tables.arrays(seed=5))
    assert_alike(original, around_thresholds(original, given))
    assert_alike(original, with_extremes(given))


@pytest.mark.parametrize("name", ["binary", "zeros", "multiclass", "roots", "forest"])
@pytest.mark.parametrize(
    "target", [Target(13, 3, 8), Target(17, 3, 8, "FP32"), Target(18, 5, 9, "FP32")], ids=str
)
def test_answers_are_alike_when_target_is_older_or_narrower(
    name: str, target: Target, originals: dict[str, Original], given: Arrays
) -> None:
    original = originals[name]
    for arrays in (given, around_thresholds(original, given), with_extremes(given)):
        model = assert_alike(original, arrays, within=2e-6, target=target, near=1e-6)
    versions = {one.domain: one.version for one in model.opset_import}
    assert versions == {"": target.opset, "ai.onnx.ml": target.ml_opset}


def test_graph_of_fp32_is_wrong_when_thresholds_are_rounded_to_the_nearest(
    originals: dict[str, Original], given: Arrays
) -> None:
    original, target = originals["regression"], target_here()
    narrow = Target(target.opset, target.ml_opset, target.ir_version, "FP32")
    model = to_onnx(original, narrow)
    (trees,) = [node for node in model.graph.node if node.op_type == "TreeEnsemble"]
    (splits,) = [one.t for one in trees.attribute if one.name == "nodes_splits"]
    safe = np.frombuffer(splits.raw_data, np.float32)
    next_up = np.nextafter(safe, np.float32(np.inf))
    nearest = np.concatenate([one.values for one in original.thresholds]).astype(np.float32)
    splits.raw_data = np.where(np.isin(safe, nearest), safe, next_up).tobytes()
    arrays = around_thresholds(original, given)
    off = np.abs(answer(model, arrays)["prediction"] - original.predict(arrays)["prediction"])
    assert (off > 1e-4).any()


def test_categories_go_with_the_unseen_when_they_are_not_known(originals: dict[str, Original]) -> None:
    arrays = {name: array[:1].repeat(4, axis=0) for name, array in tables.arrays(seed=3).items()}
    arrays["city"][:, 0] = ["never seen", "City 1", "city 1 ", "città"]
    original = originals["binary"]
    model = assert_alike(original, arrays)
    scores = answer(model, arrays)["probabilities"]
    assert (scores == scores[0]).all()
    arrays["city"][:, 0] = ["city 0", "city 1", "city 2", "city 3"]
    assert len(np.unique(answer(model, arrays)["probabilities"][:, 1])) > 1


@pytest.mark.parametrize(
    "calibration",
    [
        Calibration("sigmoid", slope=1.3, offset=-0.4),
        Calibration("isotonic", knots=np.array([0.2, 0.4, 0.41]), values=np.array([0.0, 0.3, 0.9])),
        Calibration("isotonic", knots=np.array([0.5]), values=np.array([0.25])),
    ],
    ids=["sigmoid", "isotonic", "one knot"],
)
@pytest.mark.parametrize("ml_opset", [3, 5])
def test_calibration_is_in_the_graph_when_there_is_one(
    calibration: Calibration, ml_opset: int, originals: dict[str, Original], given: Arrays
) -> None:
    tabular = originals["binary"].model
    made = Tabular(tabular.estimator, tabular.numbers, tabular.categories, calibration)
    original = original_of_tabular(made, task="binary", classes=(0, 1))
    assert_alike(original, given, within=1e-6, near=1e-6, target=Target(17, ml_opset, 8))
    plain = originals["binary"].predict(given)["probabilities"]
    assert np.abs(original.predict(given)["probabilities"] - plain).max() > 0.05


def test_thresholds_are_of_numbers_only_when_there_are_categories(originals: dict[str, Original]) -> None:
    told = originals["binary"].thresholds
    assert {one.input for one in told} == {"x"}
    assert {one.column for one in told} <= set(range(len(tables.NUMBERS)))
    assert all(one.inclusive and (np.diff(one.values) > 0).all() for one in told)
    assert {one.inclusive for one in originals["zeros"].thresholds} == {True, False}


def test_tree_without_a_split_is_a_constant_when_converted() -> None:
    x = np.zeros((50, 2), np.float32)
    data = lightgbm.Dataset(x, np.arange(50) % 2, params={"feature_pre_filter": False})
    booster = lightgbm.train({**_SMALL, "objective": "binary"}, data, 3)
    original = original_of_tabular(Tabular(booster, ("a", "b")), task="binary", classes=(0, 1))
    assert_alike(original, {"x": np.ones((3, 2), np.float32)})


def test_best_iteration_is_taken_when_known(given: Arrays) -> None:
    booster = _fitted(given, {"objective": "regression"}, "regression")
    booster.best_iteration = 7
    tabular = Tabular(booster, tables.NUMBERS, tables.CATEGORIES)
    assert_alike(original_of_tabular(tabular, task="regression"), given)


def test_linear_trees_are_refused_when_converted(given: Arrays) -> None:
    x = np.nan_to_num(given["x"])
    data = lightgbm.Dataset(x, tables.targets(given)["regression"], params={"linear_tree": True})
    booster = lightgbm.train({**_SMALL, "objective": "regression", "linear_tree": True}, data, 3)
    with pytest.raises(TrainingError, match="linear_tree: ONNX has no trees with linear models"):
        original_of_tabular(Tabular(booster, tables.NUMBERS), task="regression")

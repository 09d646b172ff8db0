"""Every kind of fault that a converter can have is caught by the gate, in graphs that passed it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import onnx
import pytest

from falaj.training.gate.parity import check_parity
from falaj.training.gate.parity_report import ParityReport
from falaj.training.graph.convert import to_onnx
from tests.training.gate import faults
from tests.training.gate.boosted_combinations import ISOTONIC, SIGMOID, catboost, lightgbm, tabular, xgboost
from tests.training.gate.combinations import Exported
from tests.training.gate.matrix_data import Table, table
from tests.training.gate.sklearn_combinations import estimator
from tests.training.graph.threads import one_thread

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(autouse=True, scope="module")
def _threads() -> Iterator[None]:
    with one_thread():
        yield


_ROWS = 80
_FOREST = partial(estimator, name="ensemble.RandomForestClassifier", n_estimators=3, random_state=0)
_HISTOGRAMS = partial(estimator, name="ensemble.HistGradientBoostingRegressor", max_iter=5, random_state=0)
FITS: dict[str, tuple[Callable[[Table], Any], str]] = {
    "lightgbm": (lightgbm, "flights"),
    "lightgbm of three classes": (lightgbm, "wine"),
    "xgboost": (xgboost, "flights"),
    "xgboost of values": (xgboost, "weather"),
    "catboost": (catboost, "planes"),
    "forest": (_FOREST, "breast_cancer"),
    "histograms": (_HISTOGRAMS, "weather"),
}


@cache
def exported(name: str) -> Exported:
    fit, data = FITS[name]
    made = tabular(fit, data)
    return replace(made, rows={key: array[:_ROWS] for key, array in made.rows.items()})


def checked(made: Exported, model: onnx.ModelProto) -> ParityReport:
    return check_parity(made.original, model, made.rows)


def telling(name: str, most: int, up: bool | None) -> list[int]:
    """Some nodes at which the way of a number matters to one of the rows, or of a missing one."""
    made, of = exported(name), table(FITS[name][1])
    walk, rows, columns = faults.Walk(made.model), of.matrix[:_ROWS], len(of.numbers)
    places = walk.telling_missing(rows, columns) if up is None else walk.telling(rows, columns, up)
    assert len(places) >= most
    chosen: list[int] = np.random.default_rng(1).permutation(places)[:most].tolist()
    return chosen


@pytest.mark.parametrize("name", FITS)
def test_export_passes_when_no_fault_is_planted(name: str) -> None:
    report = checked(exported(name), exported(name).model)
    assert report.passed, list(report.lines())


@pytest.mark.parametrize("up", [True, False], ids=["up", "down"])
@pytest.mark.parametrize("name", FITS)
def test_threshold_is_caught_when_one_ulp_off(name: str, up: bool) -> None:
    made = exported(name)
    for place in telling(name, 2, up):
        report = checked(made, faults.shifted(made.model, place, up))
        assert any(each.misplaced for each in report.sets), (place, list(report.lines()))
        assert not report.passed


@pytest.mark.parametrize("name", ["lightgbm", "xgboost", "xgboost of values", "histograms"])
def test_default_direction_is_caught_when_it_is_the_other(name: str) -> None:
    made = exported(name)
    for place in telling(name, 2, None):
        report = checked(made, faults.other_missing(made.model, place))
        assert not report.passed, place


@pytest.mark.parametrize("name", ["lightgbm of three classes", "histograms"])
def test_thresholds_are_caught_when_rounded_to_nearest(name: str) -> None:
    made = exported(name)
    right = faults.thresholds(made.model)
    exact = np.concatenate([each.values for each in made.original.thresholds])
    nearest = {float(low): float(near) for low, near in zip(_down(exact), exact.astype("f4"), strict=True)}
    rounded = np.array([nearest.get(float(value), value) for value in right], right.dtype)
    assert (rounded != right).any()
    assert not checked(made, faults.with_thresholds(made.model, rounded)).passed


def _down(values: Any) -> Any:
    near = values.astype(np.float32)
    return np.where(near > values, np.nextafter(near, np.float32(-np.inf)), near)


def told_apart(name: str, encoder: int) -> list[tuple[int, int]]:
    """Pairs of categories, of the input of that encoder, that the original answers otherwise."""
    made = exported(name)
    given = list(made.original.categories)[encoder]
    known = made.original.categories[given]
    output = made.original.outputs[-1].name
    answers = []
    for value in known:
        rows = {**made.rows, given: np.full_like(made.rows[given], value)}
        answers.append(made.original.predict(rows)[output])
    pairs = [(i, j) for i in range(len(known)) for j in range(i)]
    return [(i, j) for i, j in pairs if np.abs(answers[i] - answers[j]).max() > 1e-6]


@pytest.mark.parametrize(("name", "encoder"), [("lightgbm", 2), ("xgboost", 0), ("xgboost", 2)])
def test_category_map_is_caught_when_two_codes_are_swapped(name: str, encoder: int) -> None:
    made = exported(name)
    pairs = told_apart(name, encoder)
    assert pairs
    for pair in np.random.default_rng(2).permutation(pairs)[:2].tolist():
        assert not checked(made, faults.categories_swapped(made.model, encoder, *pair)).passed, pair


@pytest.mark.parametrize("name", ["lightgbm", "xgboost"])
def test_category_map_is_caught_when_a_category_is_dropped(name: str) -> None:
    made = exported(name)
    dropped = 0
    for encoder, (given, known) in enumerate(made.original.categories.items()):
        for place in range(0, len(known), 9):
            rows = {**made.rows, given: np.full_like(made.rows[given], known[place])}
            other = {**made.rows, given: np.full_like(made.rows[given], "of no list")}
            output = made.original.outputs[-1].name
            was, now = made.original.predict(rows)[output], made.original.predict(other)[output]
            if np.abs(was - now).max() > 1e-6:
                assert not checked(made, faults.category_dropped(made.model, encoder, place)).passed, place
                dropped += 1
    assert dropped >= 1


@pytest.mark.parametrize("name", FITS)
def test_columns_are_caught_when_two_are_swapped(name: str) -> None:
    made = exported(name)
    features = list(faults.attribute(faults.trees(made.model), "nodes_featureids").ints)
    used = sorted(set(features), key=features.count)[-2:]
    assert not checked(made, faults.columns_swapped(made.model, used[0], used[1])).passed


@pytest.mark.parametrize("calibration", [SIGMOID, ISOTONIC], ids=["sigmoid", "isotonic"])
def test_calibration_is_caught_when_it_is_dropped(calibration: Any) -> None:
    made = tabular(lightgbm, "flights", calibration)
    assert checked(made, made.model).passed
    bare = replace(made.original, model=replace(made.original.model, calibration=None))
    report = checked(made, to_onnx(bare))
    assert any(reason.startswith("training rows: output 'probabilities'") for reason in report.reasons)


@pytest.mark.parametrize("name", ["lightgbm", "lightgbm of three classes"])
def test_classes_are_caught_when_their_order_is_another(name: str) -> None:
    made = exported(name)
    first, second, *others = made.original.classes
    report = checked(made, to_onnx(replace(made.original, classes=(second, first, *others))))
    assert any(reason.startswith("training rows: output 'label'") for reason in report.reasons)

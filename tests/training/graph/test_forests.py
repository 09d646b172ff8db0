"""Trees of XGBoost, CatBoost and scikit-learn answer as graphs what their libraries answer."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import catboost
import numpy as np
import pytest
import threadpoolctl
import xgboost
from numpy.typing import NDArray
from sklearn import ensemble, tree

from falaj.training.errors import TrainingError
from falaj.training.graph.estimator_forest import forest_of
from falaj.training.graph.tabular_original import original_of_tabular
from falaj.training.graph.target import Target
from falaj.training.original import Arrays, Original, Task
from falaj.training.tabular import Tabular
from tests.training.graph import tables
from tests.training.graph.answers import around_thresholds, assert_alike, with_extremes

_CLASSES: dict[Task, tuple[int | str, ...]] = {
    "binary": ("on time", "late"),
    "multiclass": (3, 5, 9),
    "regression": (),
}
Fit = Callable[[NDArray[np.float32], NDArray[Any]], Any]


@dataclass(frozen=True)
class Case:
    """What is fitted on which target, and what of its answers may differ."""

    task: Task
    fit: Fit
    target: str = ""
    within: float = 2e-7  # a unit in the last place of FP32
    infinite: bool = True


def _xgboost(rounds: int = 20, categorical: bool = True, **settings: Any) -> Fit:
    def fit(x: NDArray[np.float32], y: NDArray[Any]) -> Any:
        kinds = ["q"] * 4 + ["c", "c"] if categorical else None
        data = xgboost.DMatrix(x, y, feature_types=kinds, enable_categorical=categorical)
        return xgboost.train({"nthread": 1, "max_depth": 4, **settings}, data, rounds)

    return fit


def _catboost(**settings: Any) -> Fit:
    fixed = {"iterations": 20, "depth": 4, "verbose": 0, "thread_count": 1, "allow_writing_files": False}
    return lambda x, y: catboost.CatBoost({**fixed, **settings}).fit(x, y)


def _sklearn(estimator: Any) -> Fit:
    return lambda x, y: estimator.fit(x, y)


_HIST = {"max_iter": 20, "categorical_features": [4, 5], "max_leaf_nodes": 8}
_CASES: dict[str, Case] = {
    # XGBoost computes sigmoids and softmaxes in FP32, and refuses infinities.
    "xgboost": Case("binary", _xgboost(objective="binary:logistic"), infinite=False),
    "xgboost codes": Case(
        "binary", _xgboost(objective="binary:logistic", max_cat_to_onehot=1, max_depth=6), infinite=False
    ),
    "xgboost numbers": Case(
        "binary", _xgboost(objective="binary:logistic", categorical=False), infinite=False
    ),
    "xgboost dart": Case(
        "binary",
        _xgboost(objective="binary:logistic", booster="dart", rate_drop=0.3),
        within=1e-6,
        infinite=False,
    ),
    "xgboost many": Case("multiclass", _xgboost(objective="multi:softprob", num_class=3), infinite=False),
    "xgboost parallel": Case(
        "multiclass",
        _xgboost(4, objective="multi:softprob", num_class=3, num_parallel_tree=3, subsample=0.7),
        infinite=False,
    ),
    "xgboost values": Case("regression", _xgboost(objective="reg:squarederror"), within=0, infinite=False),
    "xgboost base": Case(
        "regression", _xgboost(objective="reg:squarederror", base_score=-2.5), within=0, infinite=False
    ),
    "xgboost poisson": Case(
        "regression", _xgboost(objective="count:poisson"), "positive", within=4e-7, infinite=False
    ),
    "catboost": Case("binary", _catboost(loss_function="Logloss")),
    "catboost many": Case("multiclass", _catboost(loss_function="MultiClass")),
    "catboost each": Case("multiclass", _catboost(loss_function="MultiClassOneVsAll")),
    "catboost values": Case("regression", _catboost(loss_function="RMSE")),
    "catboost nan above": Case("regression", _catboost(loss_function="RMSE", nan_mode="Max")),
    "catboost leafwise": Case("binary", _catboost(loss_function="Logloss", grow_policy="Lossguide")),
    "catboost depthwise many": Case(
        "multiclass", _catboost(loss_function="MultiClass", grow_policy="Depthwise")
    ),
    "catboost poisson": Case("regression", _catboost(loss_function="Poisson"), "positive"),
    "tree": Case("binary", _sklearn(tree.DecisionTreeClassifier(max_depth=6)), infinite=False),
    "tree values": Case("regression", _sklearn(tree.DecisionTreeRegressor(max_depth=6)), infinite=False),
    "forest": Case(
        "binary", _sklearn(ensemble.RandomForestClassifier(15, max_depth=6, random_state=0)), infinite=False
    ),
    "forest many": Case(
        "multiclass",
        _sklearn(ensemble.RandomForestClassifier(15, max_depth=6, random_state=0)),
        infinite=False,
    ),
    "forest values": Case(
        "regression",
        _sklearn(ensemble.RandomForestRegressor(15, max_depth=6, random_state=0)),
        infinite=False,
    ),
    "extra": Case(
        "binary", _sklearn(ensemble.ExtraTreesClassifier(15, max_depth=6, random_state=0)), infinite=False
    ),
    "hist": Case("binary", _sklearn(ensemble.HistGradientBoostingClassifier(**_HIST))),
    "hist many": Case("multiclass", _sklearn(ensemble.HistGradientBoostingClassifier(**_HIST))),
    "hist values": Case("regression", _sklearn(ensemble.HistGradientBoostingRegressor(**_HIST))),
    "hist gamma": Case(
        "regression", _sklearn(ensemble.HistGradientBoostingRegressor(loss="gamma", **_HIST)), "positive"
    ),
}
_REFUSE_NAN = {
    "boosted": Case("binary", _sklearn(ensemble.GradientBoostingClassifier(n_estimators=20))),
    "boosted exponential": Case(
        "binary", _sklearn(ensemble.GradientBoostingClassifier(n_estimators=20, loss="exponential"))
    ),
    "boosted many": Case("multiclass", _sklearn(ensemble.GradientBoostingClassifier(n_estimators=20))),
    "boosted values": Case("regression", _sklearn(ensemble.GradientBoostingRegressor(n_estimators=20))),
}


def _original(case: Case, x: NDArray[np.float32], targets: dict[str, NDArray[Any]]) -> Original:
    model = case.fit(x, targets[case.target or case.task])
    categories = tables.CATEGORIES if x.shape[1] > len(tables.NUMBERS) else {}
    tabular = Tabular(model, tables.NUMBERS, categories)
    return original_of_tabular(tabular, task=case.task, classes=_CLASSES[case.task])


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    with threadpoolctl.threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def given() -> Arrays:
    return tables.arrays()


@pytest.mark.parametrize("name", _CASES)
def test_answers_are_alike_when_converted(name: str, given: Arrays) -> None:
    case = _CASES[name]
    original = _original(case, tables.matrix(given), tables.targets(given))
    near, within = case.within, case.within
    assert_alike(original, tables.arrays(seed=5), within=within, near=near)
    assert_alike(original, around_thresholds(original, given), within=within, near=near)
    assert_alike(original, with_extremes(given, infinite=case.infinite), within=within, near=near)
    older = Target(13, 3, 8)
    assert_alike(original, around_thresholds(original, given), within=2e-6, near=2e-6, target=older)


@pytest.mark.parametrize("name", _REFUSE_NAN)
def test_answers_are_alike_when_there_is_always_a_value(name: str, given: Arrays) -> None:
    case, filled = _REFUSE_NAN[name], {"x": np.nan_to_num(given["x"], nan=0.7)}
    original = _original(case, filled["x"], tables.targets(given))
    assert_alike(original, filled, within=case.within, near=case.within)
    around = around_thresholds(original, filled)
    assert_alike(original, around, within=case.within, near=case.within)


def test_fractions_are_unknown_when_categories_are_among_the_numbers(given: Arrays) -> None:
    x = tables.matrix(given)[:, 2:]
    model = ensemble.HistGradientBoostingRegressor(max_iter=10, categorical_features=[2, 3])
    model.fit(x, tables.targets(given)["regression"])
    original = original_of_tabular(Tabular(model, ("a", "b", "city", "colour")), task="regression")
    values = [0.0, 1.0, 2.0, 0.5, 63.5, -1.0, -0.5, 64.0, 69.0, 70.0, 1e9, np.nan]
    rows = np.resize(x, (len(values), 4))
    rows[:, 2] = values
    assert_alike(original, {"x": rows.astype(np.float32)}, within=2e-7)


def test_fractions_are_cut_off_when_xgboost_looks_for_codes_among_numbers(given: Arrays) -> None:
    x = tables.matrix(given)
    model = _xgboost(objective="reg:squarederror", max_cat_to_onehot=1)(
        x, tables.targets(given)["regression"]
    )
    original = original_of_tabular(Tabular(model, ("a", "b", "c", "d", "e", "f")), task="regression")
    values = [0.0, 1.0, 0.5, 63.5, 64.0, 69.0, 70.0, 1000.0, np.nan]
    rows = np.resize(x, (len(values), 6))
    rows[:, 4] = values
    assert_alike(original, {"x": rows.astype(np.float32)})


def test_rounds_are_those_of_the_best_iteration_when_an_estimator_stops_early(given: Arrays) -> None:
    x, y = tables.matrix(given), tables.targets(given)["binary"]
    model = xgboost.XGBClassifier(n_estimators=60, early_stopping_rounds=2, n_jobs=1, learning_rate=1.0)
    model.fit(x[:700], y[:700], eval_set=[(x[700:], y[700:])], verbose=False)
    assert model.best_iteration + 1 < model.get_booster().num_boosted_rounds()
    forest = forest_of(model)
    assert forest is not None
    assert len(forest.trees) == model.best_iteration + 1
    original = original_of_tabular(
        Tabular(model, tables.NUMBERS, tables.CATEGORIES), task="binary", classes=(0, 1)
    )
    assert_alike(original, given, within=2e-7)
    right = model.predict_proba(x)
    np.testing.assert_allclose(original.predict(given)["probabilities"], right, atol=1e-7)


@pytest.mark.parametrize(
    ("fit", "message"),
    [
        (_xgboost(2, objective="binary:hinge"), "objective 'binary:hinge': expected one of"),
        (_xgboost(2, objective="multi:softmax", num_class=3), "objective 'multi:softmax': expected one of"),
    ],
)
def test_booster_is_refused_when_its_scores_are_not_probabilities(
    fit: Fit, message: str, given: Arrays
) -> None:
    with pytest.raises(TrainingError, match=message):
        forest_of(fit(tables.matrix(given), tables.targets(given)["binary"]))


@pytest.mark.parametrize(
    ("fit", "classes", "message"),
    [
        (_xgboost(2, objective="binary:logitraw"), (0, 1), "expected an objective of classes"),
        (_catboost(loss_function="RMSE"), (0, 1), "expected an objective of classes"),
        (_xgboost(2, objective="binary:logistic"), (0, 1, 2), "expected the scores of 3 classes, it gives 1"),
        (_catboost(loss_function="MultiClass"), (), "expected the scores of a regression, it gives 2"),
    ],
)
def test_booster_is_refused_when_it_is_for_another_task(
    fit: Fit, classes: tuple[int, ...], message: str, given: Arrays
) -> None:
    model = fit(tables.matrix(given), tables.targets(given)["binary"])
    task: Task = "regression" if not classes else "binary" if len(classes) == 2 else "multiclass"
    with pytest.raises(TrainingError, match=message):
        original_of_tabular(Tabular(model, tables.NUMBERS, tables.CATEGORIES), task=task, classes=classes)


def test_catboost_is_refused_when_it_has_categories_of_its_own() -> None:
    model = catboost.CatBoost({"iterations": 2, "verbose": 0, "allow_writing_files": False})
    rows = [[str(of % 3), of] for of in range(60)]
    model.fit(rows, np.arange(60) % 3 == 1, cat_features=[0])
    with pytest.raises(TrainingError, match="categories as codes, got categorical_features"):
        forest_of(model)

"""Weighted metrics are scikit-learn's, and a bootstrap by weights is one by rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as of_sklearn

from falaj.training.errors import TrainingError
from falaj.training.fit.bootstrap import Measured, measure
from falaj.training.fit.metrics import Predicted, direction, metrics_of, value_of, weighted_metrics

Rows = NDArray[np.float64]


def drawn(seed: int, rows: int, classes: int) -> tuple[Predicted, Rows]:
    random = np.random.default_rng(seed)
    # Few different scores, so that there are ties.
    scores = random.integers(1, 9, (rows, classes)).astype(np.float64)
    scores /= scores.sum(1, keepdims=True)
    target = random.permutation(np.arange(rows) % classes)
    weights = random.integers(0, 4, rows).astype(np.float64)
    for each in range(classes):
        weights[np.flatnonzero(target == each)[0]] = 1.0
    return Predicted("binary" if classes == 2 else "multiclass", target, scores), weights


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(6, 60))
def test_binary_metrics_are_those_of_scikit_learn_when_rows_are_weighted(seed: int, rows: int) -> None:
    predicted, weights = drawn(seed, rows, 2)
    y, p = predicted.target, predicted.scores[:, 1]
    labels = predicted.scores.argmax(1)
    expected = {
        "auc": of_sklearn.roc_auc_score(y, p, sample_weight=weights),
        "pr_auc": of_sklearn.average_precision_score(y, p, sample_weight=weights),
        "log_loss": of_sklearn.log_loss(y, predicted.scores, sample_weight=weights),
        "brier": of_sklearn.brier_score_loss(y, p, sample_weight=weights),
        "accuracy": of_sklearn.accuracy_score(y, labels, sample_weight=weights),
        "f1": of_sklearn.f1_score(y, labels, sample_weight=weights, zero_division=0.0),
    }
    found = {name: metric(weights) for name, metric in weighted_metrics(predicted).items()}
    assert found == pytest.approx(expected, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(9, 60))
def test_multiclass_metrics_are_those_of_scikit_learn_when_rows_are_weighted(seed: int, rows: int) -> None:
    predicted, weights = drawn(seed, rows, 3)
    y, scores = predicted.target, predicted.scores
    labels = scores.argmax(1)
    each = [of_sklearn.roc_auc_score(y == i, scores[:, i], sample_weight=weights) for i in range(3)]
    expected = {
        "auc": np.mean(each),
        "log_loss": of_sklearn.log_loss(y, scores, sample_weight=weights),
        "brier": np.average(((scores - np.eye(3)[y]) ** 2).sum(1), weights=weights),
        "accuracy": of_sklearn.accuracy_score(y, labels, sample_weight=weights),
        "f1": of_sklearn.f1_score(y, labels, sample_weight=weights, average="macro", zero_division=0.0),
    }
    found = {name: metric(weights) for name, metric in weighted_metrics(predicted).items()}
    assert found == pytest.approx(expected, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(3, 60))
def test_regression_metrics_are_those_of_scikit_learn_when_rows_are_weighted(seed: int, rows: int) -> None:
    random = np.random.default_rng(seed)
    target, said = random.normal(size=(2, rows))
    weights = random.integers(1, 4, rows).astype(np.float64)
    found = weighted_metrics(Predicted("regression", target, said[:, None]))
    expected = {
        "rmse": of_sklearn.root_mean_squared_error(target, said, sample_weight=weights),
        "mae": of_sklearn.mean_absolute_error(target, said, sample_weight=weights),
        "r2": of_sklearn.r2_score(target, said, sample_weight=weights),
    }
    assert {name: metric(weights) for name, metric in found.items()} == pytest.approx(expected, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), classes=st.sampled_from([2, 3]))
def test_weight_is_the_row_so_many_times_when_it_is_whole(seed: int, classes: int) -> None:
    predicted, weights = drawn(seed, 40, classes)
    repeated = predicted.take(np.repeat(np.arange(40), weights.astype(int)))
    found = {name: metric(weights) for name, metric in weighted_metrics(predicted).items()}
    assert found == pytest.approx(
        {name: value_of(name, repeated) for name in metrics_of(predicted.task)}, abs=1e-12
    )


def test_metric_has_no_value_when_there_is_one_class_only() -> None:
    predicted = Predicted("binary", np.zeros(30, np.int64), np.tile([0.6, 0.4], (30, 1)))
    found = measure(predicted, ("row", None), 40, 0).metrics
    assert (found["auc"].value, found["auc"].low) == (None, None)
    assert found["accuracy"].value == 1.0


def test_interval_covers_the_truth_as_often_as_it_says_when_rows_are_drawn_again() -> None:
    covered = 0
    for seed in range(120):
        random = np.random.default_rng(seed)
        target = random.normal(size=150)
        predicted = Predicted("regression", target, (target + random.normal(size=150))[:, None])
        found = measure(predicted, ("row", None), 200, seed).metrics["rmse"]
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 1.0 <= found.high
    # Of 120 trials at 95 %, 114 are expected; fewer than 103 have a chance of 3e-5.
    assert covered >= 103


def width(of: Measured) -> float:
    assert of.low is not None
    assert of.high is not None
    return of.high - of.low


def test_interval_is_wider_when_rows_of_a_block_are_alike() -> None:
    random = np.random.default_rng(0)
    shift = np.repeat(random.normal(size=40), 25)
    target = random.normal(size=1000)
    predicted = Predicted("regression", target, (target + shift)[:, None])
    alone = measure(predicted, ("row", None), 200, 0).metrics["mae"]
    blocks = measure(predicted, ("group", np.repeat(np.arange(40), 25)), 200, 0).metrics["mae"]
    assert width(blocks) > 2 * width(alone)


def test_interval_is_the_same_when_the_seed_is() -> None:
    predicted, _ = drawn(1, 50, 2)
    one, other = (measure(predicted, ("row", None), 50, 7) for _ in range(2))
    assert one == other
    assert measure(predicted, ("row", None), 50, 8) != one


def test_direction_is_refused_when_the_task_has_no_such_metric() -> None:
    assert direction("auc", "binary") == "maximize"
    with pytest.raises(TrainingError, match="metric 'auc': a regression task has rmse, mae, r2"):
        direction("auc", "regression")

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
from falaj.training.fit.resampled import resampled_metrics

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


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(20, 80),
    task=st.sampled_from([0, 2, 3]),
    blocks=st.integers(2, 9),
)
def test_resample_has_the_metrics_of_weighted_rows_when_blocks_are_drawn(
    seed: int, rows: int, task: int, blocks: int
) -> None:
    random = np.random.default_rng(seed)
    if task:
        predicted, _ = drawn(seed, rows, task)
    else:
        target, said = random.normal(size=(2, rows))
        predicted = Predicted("regression", target, said[:, None])
    block = random.integers(0, blocks, rows)
    counts = random.integers(0, 4, (5, blocks)).astype(np.float64)
    counts[:, 0] += 1
    found = {name: metric(counts) for name, metric in resampled_metrics(predicted, block, blocks).items()}
    for i, each in enumerate(counts):
        weights = each[block]
        for name, metric in weighted_metrics(predicted).items():
            expected = metric(weights)
            if np.isfinite(expected) and weights.sum():
                assert found[name][i] == pytest.approx(expected, abs=1e-9), name


def test_interval_is_near_that_of_rows_when_there_are_many_and_scores_are_binned() -> None:
    random = np.random.default_rng(0)
    target = random.integers(0, 2, 20_000)
    score = 1 / (1 + np.exp(-(target + random.normal(size=20_000))))
    predicted = Predicted("binary", target, np.stack([1 - score, score], axis=1))
    found = measure(predicted, ("row", None), 400, 0).metrics["auc"]
    assert found.value == pytest.approx(of_sklearn.roc_auc_score(target, score), abs=1e-12)
    # Hanley and McNeil 1982: the standard error of an area, here 0.003.
    a, n = found.value or 0, 10_000
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    error = np.sqrt((a * (1 - a) + (n - 1) * (q1 - a * a + q2 - a * a)) / (n * n))
    assert width(found) == pytest.approx(2 * 1.96 * error, rel=0.15)

"""Metrics against scikit-learn's, and agreement on answers that were made to differ."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from falaj.training.errors import TrainingError
from falaj.training.optimize.bounds import Bounds
from falaj.training.optimize.metric import answer_for, as_metric, loss_of
from falaj.training.optimize.quality import Quality, agreement_of, failures

_SCORES = hnp.arrays(np.float32, st.integers(4, 60), elements=st.floats(0, 1, width=16))


@settings(deadline=None)
@given(scores=_SCORES, data=st.data())
def test_auc_is_scikit_learns_when_scores_have_ties(scores: np.ndarray, data: Any) -> None:
    from sklearn.metrics import roc_auc_score

    labels = data.draw(hnp.arrays(np.int64, len(scores), elements=st.integers(0, 1)))
    labels[:2] = (0, 1)
    loss = loss_of("auc", labels, scores, scores)
    assert loss.original == pytest.approx(roc_auc_score(labels, scores))
    assert (loss.loss, loss.low, loss.high) == (0, 0, 0)


def test_loss_has_its_own_unit_when_the_metric_is_another() -> None:
    labels = np.array([0, 1, 1, 0])
    accuracy = loss_of("accuracy", labels, np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0]))
    assert (accuracy.original, accuracy.variant, accuracy.loss) == (1.0, 0.75, 0.25)
    rmse = loss_of("rmse", np.zeros(4), np.full(4, 2.0), np.full(4, 2.5))
    assert rmse.loss == pytest.approx(0.25)
    assert rmse.low == pytest.approx(0.25)  # every row alike


def test_loss_interval_holds_the_true_loss_when_rows_are_drawn() -> None:
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(40):
        labels = rng.integers(0, 2, 400)
        right = rng.random(400) < 0.9
        worse = right & (rng.random(400) < 0.95)  # loses 0.045
        loss = loss_of(
            "accuracy", labels, np.where(right, labels, 1 - labels), np.where(worse, labels, 1 - labels)
        )
        held += loss.low <= 0.045 <= loss.high
    assert held >= 34


def test_accuracy_compares_texts_when_labels_are_strings() -> None:
    labels = np.array(["a", "b", "a"], dtype=object)
    answers = np.array([b"a", b"b", b"b"], dtype=object)
    assert loss_of("accuracy", labels, answers, answers).original == pytest.approx(2 / 3)


def test_metric_takes_the_label_when_scores_are_beside_it() -> None:
    outputs = {"label": np.array([1, 0]), "probabilities": np.array([[0.1, 0.9], [0.8, 0.2]], np.float32)}
    np.testing.assert_array_equal(answer_for("accuracy", outputs, None), [1, 0])
    np.testing.assert_allclose(answer_for("auc", outputs, None), [0.9, 0.2], rtol=1e-6)
    np.testing.assert_array_equal(answer_for("accuracy", outputs, "probabilities"), [1, 0])


@pytest.mark.parametrize(
    ("metric", "outputs", "output", "told"),
    [
        ("auc", {"y": np.zeros((3, 4), np.float32)}, None, "expected one output that it can be of, got 0"),
        ("rmse", {"a": np.zeros(3), "b": np.zeros(3)}, None, "got 2 of.*name one by `output`"),
        ("rmse", {"a": np.zeros(3)}, "c", "output 'c': the model has a"),
    ],
)
def test_metric_is_refused_when_no_output_is_the_one(
    metric: Any, outputs: Any, output: Any, told: str
) -> None:
    with pytest.raises(TrainingError, match=told):
        answer_for(metric, outputs, output)


def test_auc_is_refused_when_labels_are_of_three_classes() -> None:
    with pytest.raises(TrainingError, match="expected labels of 2 classes, got 3"):
        loss_of("auc", np.array([0, 1, 2]), np.zeros(3), np.zeros(3))
    with pytest.raises(TrainingError, match="metric: expected auc, accuracy, rmse, got 'f1'"):
        as_metric("f1")


@settings(deadline=None)
@given(
    values=hnp.arrays(
        np.float32, hnp.array_shapes(min_dims=1, max_dims=3), elements=st.floats(allow_nan=True, width=32)
    )
)
def test_agreement_is_perfect_when_answers_are_the_same(values: np.ndarray) -> None:
    (of,) = agreement_of({"y": values}, {"y": values.copy()}, scores_decide=True)
    assert (of.mean_error, of.max_error) == (0, 0)
    assert of.flips in (None, 0)
    assert of.rank_correlation is None or of.rank_correlation == pytest.approx(1)
    assert failures(Quality(len(values), (of,)), Bounds(0, 0, 0, 0, 0.999)) == ()


def test_error_is_infinite_when_only_one_answer_is_a_number() -> None:
    was = {"y": np.array([[1.0], [np.nan], [np.inf]], np.float32)}
    became = {"y": np.array([[1.0], [0.0], [np.inf]], np.float32)}
    (of,) = agreement_of(was, became, scores_decide=True)
    assert of.max_error == np.inf
    assert "y: max_error inf, expected 0.5 at most" in failures(Quality(3, (of,)), Bounds())


def test_errors_are_shares_of_the_spread_when_answers_are_large() -> None:
    was = np.random.default_rng(0).normal(0, 1000, (500, 1))
    (of,) = agreement_of({"y": was}, {"y": was + 100}, scores_decide=False)
    assert of.mean_error == pytest.approx(100 / was.std())
    assert of.rank_correlation == pytest.approx(1)


def test_flips_are_counted_by_row_when_labels_or_largest_scores_change() -> None:
    was = {"label": np.array([0, 1, 2, 3]), "scores": np.eye(4, dtype=np.float32)}
    became = {"label": np.array([0, 1, 2, 0]), "scores": np.eye(4, dtype=np.float32)[[0, 1, 3, 2]]}
    label, scores = agreement_of(was, became, scores_decide=True)
    assert (label.flips, scores.flips) == (0.25, 0.5)
    quality = Quality(4, (label, scores))
    assert quality.worst("flips") == 0.5
    assert failures(quality, Bounds(flips=0.3, mean_error=9, max_error=9)) == (
        "scores: flips 0.50000, expected 0.3 at most",
    )
    assert agreement_of(was, became, scores_decide=False)[1].flips is None


def test_order_is_lost_when_answers_are_shuffled_inside_the_other_bounds() -> None:
    was = np.random.default_rng(0).normal(0, 1, (500, 1))
    became = was + np.random.default_rng(1).normal(0, 0.3, was.shape)
    quality = Quality(500, agreement_of({"y": was}, {"y": became}, scores_decide=True))
    (told,) = failures(quality, Bounds(mean_error=1, max_error=10))
    assert told.startswith("y: rank_correlation 0.9")


def test_loss_fails_with_its_figures_when_it_is_over_the_bound() -> None:
    loss = loss_of("accuracy", np.zeros(10), np.zeros(10), np.arange(10) == 0)
    (told,) = failures(Quality(10, (), loss), Bounds())
    assert told.startswith("accuracy: 0.90000 after 1.00000, a loss of 0.10000 (95 % 0.00000..")
    assert told.endswith("expected 0.002 at most")


def test_agreement_is_refused_when_shapes_differ() -> None:
    with pytest.raises(ValueError, match=r"output 'y': shape \[2\], expected \[3\]"):
        agreement_of({"y": np.zeros(3)}, {"y": np.zeros(2)}, scores_decide=True)

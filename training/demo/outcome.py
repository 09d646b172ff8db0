"""What was served, held against what training has for the same flights and against what happened."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from falaj.training.demo.months import Month, by_month, plain_scores
from falaj.training.demo.replay import Replayed
from falaj.training.demo.steps import RUN, SET

if TYPE_CHECKING:
    from falaj.training.fit.run import Run

BOUND = 1e-5  # of a probability: FP32 sums of trees in another order
_TEST = (7, 8, 9, 10, 11, 12)


@dataclass(frozen=True)
class Outcome:
    """How good the answers are.

    Attributes:
        asked, within: Flights, and those whose answers are within BOUND of training's.
        largest: Difference.
        auc: Of what was served.
        months: Of the whole test period, by training's own predictions.
    """

    asked: int
    within: int
    largest: float
    auc: float
    months: tuple[Month, ...]

    @property
    def equal(self) -> bool:
        """Whether every answer is training's."""
        return self.within == self.asked


@dataclass(frozen=True)
class Predictions:
    """Training's own, of the test period: scores, FP64, of `rows` of the training set, in order."""

    rows: NDArray[np.int64]
    scores: NDArray[np.float64]


def outcome_of(folder: Path, done: Replayed) -> Outcome:
    """Return it. `done`: a replay from the beginning of the test period on.

    Raises:
        TrainingError: The demo's run cannot be read.
    """
    from sklearn.metrics import roc_auc_score

    run = run_of(folder)
    scores = predictions_of(run).scores[: len(done.late)]
    difference = np.abs(done.scores.astype(np.float64) - scores)
    return Outcome(
        asked=len(scores),
        within=int((difference <= BOUND).sum()),
        largest=float(difference.max()),
        auc=float(roc_auc_score(done.late, done.scores)),
        months=months_of(folder, run),
    )


def run_of(folder: Path) -> "Run":
    """Return the demo's run. Raises TrainingError where it cannot be read."""
    from falaj.training.fit.run_folder import read_run

    return read_run(folder / RUN)


def predictions_of(run: "Run") -> Predictions:
    """Return what a run predicts of the test period."""
    told = run.predictions
    is_test = told["split"] == "test"
    order = np.argsort(told["row"][is_test])
    return Predictions(told["row"][is_test][order], told["score"][is_test][order].astype(np.float64))


def months_of(folder: Path, run: "Run") -> tuple[Month, ...]:
    """Return how good a run's predictions are by month of the test period, and a plain model's."""
    import duckdb

    from falaj.features.offline.sql import literal

    predicted = predictions_of(run)
    with duckdb.connect() as connection:
        sql = f"SELECT month, late FROM {literal(str(folder / SET))}"
        columns = connection.execute(sql).fetchnumpy()
    fitted = np.ones(len(columns["late"]), bool)
    fitted[predicted.rows] = False
    plain = plain_scores(folder / SET, run.numbers, fitted)[predicted.rows]
    month, late = np.asarray(columns["month"])[predicted.rows], np.asarray(columns["late"])[predicted.rows]
    return tuple(by_month(month, late, predicted.scores, plain, _TEST))

"""What a variant may lose, and how much faster it must be."""

from dataclasses import dataclass

from falaj.training.errors import TrainingError


@dataclass(frozen=True)
class Bounds:
    """The most that a variant may lose against its original, over the rows that were held out for it.

    Errors are in units of the spread of the original's own answers: the standard deviation of all values of
    that output.

    Args:
        metric_loss: Of AUC and accuracy, absolute; of RMSE a share of the original's.
        flips: Share of the rows whose label, or largest of several scores, is another one.
        mean_error: Mean absolute error of an output's values.
        max_error: Largest absolute error of an output's values.
        rank_correlation: The least that Spearman's may be, where an output orders the rows.

    Raises:
        TrainingError: One is negative or not a number.
    """

    metric_loss: float = 0.002
    flips: float = 0.01
    mean_error: float = 0.05
    max_error: float = 0.5
    rank_correlation: float = 0.99

    def __post_init__(self) -> None:
        for name, bound in vars(self).items():
            if not bound >= 0:
                raise TrainingError(f"bounds: {name}: expected 0 or more, got {bound}")


@dataclass(frozen=True)
class SpeedRules:
    """How speed is measured, and when a variant is faster.

    Args:
        batches: Rows of a batch that are measured.
        decisive: Those of them at which a variant must be faster.
        least_ratio: What the lower end of the interval of original's CPU time / variant's must pass.
        rounds: How often everything is measured, in turn.
        slice_seconds: For how long one variant runs at one batch size in one round, or one run if longer.
        confidence: Of the interval of the median over the rounds.

    Raises:
        TrainingError: A value is out of range, or the rounds are too few for the confidence.
    """

    batches: tuple[int, ...] = (1, 8, 32, 128)
    decisive: tuple[int, ...] = (1, 8, 32)
    least_ratio: float = 1.03
    rounds: int = 15
    slice_seconds: float = 0.02
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not self.batches or any(rows < 1 for rows in self.batches):
            raise TrainingError(f"batches: expected numbers of rows from 1 on, got {list(self.batches)}")
        if not self.decisive or not set(self.decisive) <= set(self.batches):
            raise TrainingError(
                f"decisive batches: expected some of {list(self.batches)}, got {list(self.decisive)}"
            )
        if not 0 < self.confidence < 1:
            raise TrainingError(f"confidence: expected more than 0 and less than 1, got {self.confidence}")
        if not self.slice_seconds > 0:
            raise TrainingError(f"slice_seconds: expected more than 0, got {self.slice_seconds}")
        if 1 - 2 * 0.5**self.rounds < self.confidence:
            raise TrainingError(
                f"rounds: expected more than {self.rounds}, which give no interval of {self.confidence:.0%}"
            )

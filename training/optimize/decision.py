"""Whether a variant is worth it: a function of figures, without clocks and models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb
from statistics import median

from falaj.training.optimize.bounds import SpeedRules


@dataclass(frozen=True)
class Ratio:
    """How many times as fast as its original a variant is: the median over rounds and its interval."""

    median: float
    low: float
    high: float

    def text(self) -> str:
        """Return `2.05 (2.01..2.09)`."""
        return f"{self.median:.2f} ({self.low:.2f}..{self.high:.2f})"


@dataclass(frozen=True)
class Verdict:
    """Whether a variant passes both gates, and if not, what it failed by."""

    passes: bool
    reasons: tuple[str, ...]


def ratio_of(original: Sequence[float], variant: Sequence[float], confidence: float) -> Ratio:
    """Return the ratio of two costs that were measured in the same rounds, round by round.

    Args:
        original, variant: Cost of a row in each round, in any one unit.
        confidence: Of the interval.

    Raises:
        ValueError: Too few rounds for the confidence, or not equally many.
    """
    ratios = sorted(a / b for a, b in zip(original, variant, strict=True))
    low, high = median_interval(len(ratios), confidence)
    return Ratio(median(ratios), ratios[low], ratios[high])


def median_interval(count: int, confidence: float) -> tuple[int, int]:
    """Return which two of `count` ascending values hold the median between them, counted from 0.

    Exact whatever the distribution is: the values below the median are as many as the heads of `count` fair
    coins (the interval of the sign test). The narrowest pair that reaches the confidence.

    Raises:
        ValueError: `count` is too small for it.
    """
    outside, below = 0.0, -1
    for heads in range(count // 2):
        outside += 2 * comb(count, heads) * 0.5**count
        if 1 - outside < confidence:
            break
        below = heads
    if below < 0:
        raise ValueError(f"{count} rounds: too few for an interval of {confidence:.0%}")
    return below, count - 1 - below


def decide(failures: Sequence[str], ratios: Mapping[int, Ratio], rules: SpeedRules) -> Verdict:
    """Say whether a variant is inside all bounds and faster at every batch size that decides.

    Args:
        failures: What its quality fails by; none where it is inside the bounds.
        ratios: Its speed by rows of a batch. The decisive sizes are those of `rules` that are here.

    Raises:
        ValueError: No decisive size was measured.
    """
    decisive = [rows for rows in rules.decisive if rows in ratios]
    if not decisive:
        raise ValueError(f"none of the decisive batch sizes {list(rules.decisive)} was measured")
    reasons = list(failures)
    for rows in decisive:
        if not ratios[rows].low > rules.least_ratio:
            reasons.append(
                f"speed at {rows} {'row' if rows == 1 else 'rows'}: {ratios[rows].text()} times the "
                f"original's, expected more than {rules.least_ratio:g} at the lower end"
            )
    return Verdict(not reasons, tuple(reasons))


def merit(ratios: Mapping[int, Ratio], rules: SpeedRules) -> float:
    """Return what variants that pass are compared by: the lower end at the most rows that decide.

    All of them are faster with few rows, too. Under load batches grow, and how fast the large ones are is
    what a server can carry.
    """
    return ratios[max(rows for rows in rules.decisive if rows in ratios)].low

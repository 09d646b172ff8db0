"""What rows cost: every candidate in turn, in one run, through the server's own core."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.optimize.bounds import SpeedRules
from falaj.training.optimize.candidate import Candidate, as_given, chosen, rows_of
from falaj.training.optimize.decision import Ratio, ratio_of
from falaj.training.original import Arrays


@dataclass(frozen=True)
class Samples:
    """What one candidate cost at one batch size, a figure for each round.

    Attributes:
        cpu_s: CPU seconds of a row.
        rate: Rows a second of one thread.
    """

    cpu_s: tuple[float, ...]
    rate: tuple[float, ...]


@dataclass(frozen=True)
class Speed:
    """How fast a variant is at one batch size; medians over the rounds.

    Attributes:
        rows: Of a batch.
        rate: Rows a second of one thread that runs such batches, by the clock.
        cpu_us: CPU microseconds of a row in them.
        together: The original's CPU time / the variant's, both in such batches.
        served: The same as the server would run both: where it would not put the variant's rows together,
            each row is run alone. None of the original.
    """

    rows: int
    rate: float
    cpu_us: float
    together: Ratio | None = None
    served: Ratio | None = None


def rules_for(original: Candidate, rules: SpeedRules) -> SpeedRules:
    """Return the rules with the batch sizes that there will be: one row is always among them, and the only
    one of a model that the server does not batch."""
    if not original.batchable:
        return replace(rules, batches=(1,), decisive=(1,))
    return replace(rules, batches=tuple(sorted({1, *rules.batches})))


def measure(
    candidates: Mapping[str, Candidate], rows: Arrays, rules: SpeedRules, tell: Callable[[float], None]
) -> dict[str, dict[int, Samples]]:
    """Run every candidate at every batch size in each round, in another order each time.

    Other work on the machine stretches the wall time of some slices, and the CPU time of few: so CPU time is
    what is compared, within a round. All the CPU time of the process counts, so it should do nothing else.

    Args:
        rows: Are repeated where a batch needs more.
        tell: Called with the share that is done.

    Returns:
        Of each candidate its samples by rows of a batch.
    """
    batches = {size: chosen(rows, np.arange(size) % rows_of(rows)) for size in rules.batches}
    cpu: dict[tuple[str, int], list[float]] = {}
    rate: dict[tuple[str, int], list[float]] = {}
    generator = np.random.default_rng(0)
    for turn in range(rules.rounds):
        for size, inputs in batches.items():
            for name in generator.permutation(list(candidates)).tolist():
                sample = _slice(candidates[name], inputs, size, rules.slice_seconds)
                cpu.setdefault((name, size), []).append(sample[0])
                rate.setdefault((name, size), []).append(sample[1])
        tell((turn + 1) / rules.rounds)
    return {
        name: {size: Samples(tuple(cpu[name, size]), tuple(rate[name, size])) for size in batches}
        for name in candidates
    }


def speeds_of(
    samples: Mapping[int, Samples], original: Mapping[int, Samples], batchable: bool, confidence: float
) -> tuple[Speed, ...]:
    """Sum up a variant's rounds beside the original's of the same rounds.

    Args:
        batchable: Whether the server would put the variant's rows together.
    """
    speeds = []
    for size, sample in samples.items():
        as_served = sample if batchable else samples[1]
        speeds.append(
            replace(
                _summed(size, sample),
                together=ratio_of(original[size].cpu_s, sample.cpu_s, confidence),
                served=ratio_of(original[size].cpu_s, as_served.cpu_s, confidence),
            )
        )
    return tuple(speeds)


def speeds_alone(samples: Mapping[int, Samples]) -> tuple[Speed, ...]:
    """Sum up the original's rounds."""
    return tuple(_summed(size, sample) for size, sample in samples.items())


def _summed(size: int, sample: Samples) -> Speed:
    return Speed(size, median(sample.rate), median(sample.cpu_s) * 1e6)


def _slice(
    candidate: Candidate, inputs: dict[str, NDArray[Any]], rows: int, seconds: float
) -> tuple[float, float]:
    """(CPU seconds of a row, rows a second). The share of a CPU that the call had holds for its runs too."""
    cpu, wall = time.process_time(), time.perf_counter()
    rate, _ = candidate.backend.measure(inputs, rows, 1, seconds, as_given)
    share = (time.process_time() - cpu) / (time.perf_counter() - wall)
    return share / rate, rate

"""Compares a setting with the defaults in turns, by figures that the search did not choose it by."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median

from falaj.server.tuning.rate import Sustained, sustained
from falaj.server.tuning.search import Probe, Spent
from falaj.server.tuning.setting import DEFAULTS, Setting
from falaj.training.optimize.decision import median_interval

ROUNDS = 6  # the fewest whose lowest and highest hold the median with 95 %
_LOADS, _FEWEST_LOADS = 3, 2
_LEAST_LOAD_S = 0.25
_PATIENCE = 3  # loads more, before a stall of the machine counts as a rate of none
_SHORT_LOAD_S = 0.5  # fewer of them, where they would be shorter
_LEAST_GAIN = 1.02
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Compared:
    """What the defaults and a setting sustained, round by round.

    Attributes:
        gain, low, high: Of the setting's rate over the defaults': the median over the rounds, and its
            interval of 95 % (sign test). Infinite where the defaults held no rate at all.
    """

    defaults: tuple[Sustained, ...]
    setting: tuple[Sustained, ...]
    gain: float
    low: float
    high: float

    @property
    def better(self) -> bool:
        """Whether the setting is faster by more than 2 %, at the lower end."""
        return self.low > _LEAST_GAIN


def confirm(
    setting: Setting,
    probe: Probe,
    slo_ms: float,
    seconds: float,
    spent: Spent,
    *,
    known: tuple[Sustained, Sustained],
    tell: Callable[[int, Setting], None] | None = None,
) -> Compared:
    """Measure both in turns, in six rounds, and every other round the setting first.

    Args:
        seconds: For all rounds; loads are at least a quarter of a second.
        spent: Seconds since it began.
        known: What the defaults and the setting sustained before: where each begins.
        tell: Called with the round, from 0, and what is about to be measured.
    """
    rates: dict[Setting, list[Sustained]] = {DEFAULTS: [], setting: []}
    begin = dict(zip((DEFAULTS, setting), known, strict=True))
    turns = 2 * ROUNDS
    for turn in range(turns):
        round_, second = divmod(turn, 2)
        which = (DEFAULTS, setting)[(second + round_) % 2]
        if tell is not None:
            tell(round_, which)
        turn_s = (seconds - spent()) / (turns - turn)
        loads = _LOADS if turn_s >= _LOADS * _SHORT_LOAD_S else _FEWEST_LOADS
        each = max(_LEAST_LOAD_S, turn_s / loads)
        ask = partial(probe, which, seconds=each)
        found = sustained(ask, slo_ms, loads, known=begin[which], patience=_PATIENCE)
        rates[which].append(found)
        if found.rate > 0:
            begin[which] = found
    return _compared(rates[DEFAULTS], rates[setting])


def _compared(defaults: list[Sustained], setting: list[Sustained]) -> Compared:
    pairs = zip(defaults, setting, strict=True)
    gains = sorted(_ratio(ours.rate, theirs.rate) for theirs, ours in pairs)
    low, high = median_interval(len(gains), _CONFIDENCE)
    return Compared(tuple(defaults), tuple(setting), median(gains), gains[low], gains[high])


def _ratio(rate: float, of: float) -> float:
    if of > 0:
        return rate / of
    return math.inf if rate > 0 else 1.0

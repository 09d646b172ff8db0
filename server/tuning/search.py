"""Finds the setting with the highest sustained rate: all are tried a little, the better half longer."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from falaj.server.tuning.rate import Seen, Sustained, sustained
from falaj.server.tuning.setting import Setting

Spent = Callable[[], float]  # seconds since the search began, with all that is not asking

_LOADS_FIRST, _LOADS = 4, 3
_LEAST_LOAD_S = 0.25
_PATIENCE = 3  # loads more of a setting that has held a rate before: it is the machine that stalled
_FEWEST = 2
_KEPT = 2  # of so many settings one goes on


class Probe(Protocol):
    """Serves a model by a setting and asks for so many seconds, at a rate or (None) in a closed loop."""

    def __call__(self, setting: Setting, rate: float | None, seconds: float) -> Seen: ...


@dataclass(frozen=True)
class Tried:
    """A setting, what it sustained, and the round in which it was last looked at, from 0."""

    setting: Setting
    found: Sustained
    round: int = 0


@dataclass(frozen=True)
class Searched:
    """All settings that were tried, the best first, and how many of the space were not."""

    tried: tuple[Tried, ...]
    left_out: int


@dataclass(frozen=True)
class Step:
    """How far a search is, for people: the round, and which setting of how many."""

    round: int
    number: int
    of: int
    setting: Setting


def search(
    settings: Sequence[Setting],
    probe: Probe,
    slo_ms: float,
    seconds: float,
    spent: Spent,
    tell: Callable[[Step], None] | None = None,
    *,
    switch_s: float = 0.0,
) -> Searched:
    """Try the settings in rounds, which share the time equally, as settings do inside of a round.

    Each round halves the settings and so doubles the time for one; it begins at the rate that was found
    before. Where the time does not reach for a first look at all, those at the end of the list are left out.
    Loads are at least a quarter of a second, so that a round may take longer than its share; the search ends
    with the load that it is at when the time is over.

    Args:
        switch_s: What going over to another setting takes, about.

    Raises:
        ValueError: There are no settings.
    """
    if not settings:
        raise ValueError("expected settings to search")
    taken = settings[: _most(len(settings), seconds, switch_s)]
    rounds = _rounds(len(taken))
    tried = {setting: Tried(setting, Sustained()) for setting in taken}
    alive: list[Setting] = list(taken)
    for number in range(rounds):
        for place, setting in enumerate(alive):
            left = seconds * (number + 1) / rounds - spent()
            if number > 0 and spent() >= seconds:
                break
            if tell is not None:
                tell(Step(number, place, len(alive), setting))
            loads = _LOADS_FIRST if number == 0 else _LOADS
            each = max(_LEAST_LOAD_S, left / (len(alive) - place) / loads)
            known = tried[setting].found if number > 0 else None
            ask = partial(probe, setting, seconds=each)
            patience = _PATIENCE if known is not None and known.rate > 0 else 0
            found = sustained(ask, slo_ms, loads, known=known, patience=patience)
            tried[setting] = Tried(setting, found, number)
        alive = [each.setting for each in _ranked(tried[setting] for setting in alive)]
        alive = alive[: max(1, math.ceil(len(alive) / _KEPT))]
    return Searched(tuple(_ranked(tried.values())), len(settings) - len(taken))


def _ranked(tried: Iterable[Tried]) -> list[Tried]:
    """The best first: those that held a rate, that went further, then by rate, then by latency."""
    return sorted(
        tried, key=lambda each: (each.found.rate <= 0, -each.round, -each.found.rate, each.found.p99_ms)
    )


def _rounds(count: int) -> int:
    return max(1, math.ceil(math.log2(count)))


def _most(count: int, seconds: float, switch_s: float) -> int:
    """Of so many settings, those that a first round has time for; two, that there is something to compare."""
    look = _LOADS_FIRST * _LEAST_LOAD_S + switch_s
    while count > _FEWEST and count * look > seconds / _rounds(count):
        count -= 1
    return count

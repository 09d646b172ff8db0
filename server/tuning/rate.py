"""The highest rate of requests that a server answers inside a bound on latency: a search over one number."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

# A first guess, as a share of what a closed loop got through: there the queue is always full.
_OF_CAPACITY = 0.8
_UP, _DOWN = 1.25, 0.5
_DOWN_FROM_KNOWN = 0.8  # a rate that has held once is not far off
# Requests answered a second may be this much fewer than were asked: 5 %, and what chance makes of a few.
_SHORT, _CHANCE = 0.05, 4.0
_UNSENT = 0.01


@dataclass(frozen=True)
class Seen:
    """What a load got.

    Attributes:
        throughput: Requests answered well, a second.
        p99_ms: Of their latencies; from when they should have been sent where there was a rate.
        answered: Requests.
        errors: Requests that failed.
        unsent: Requests whose time had come when it ended, and which no connection was free for.
        why: What went wrong, for people; empty where nothing did.
    """

    throughput: float
    p99_ms: float
    answered: int
    errors: int = 0
    unsent: int = 0
    why: str = ""


@dataclass(frozen=True)
class Sustained:
    """The highest rate that was seen to hold; 0 where none did.

    Attributes:
        rate: Requests a second.
        p99_ms: At that rate; at the lowest that was tried where none held.
        too_high: The lowest rate above it that did not hold; infinite where none was tried.
        why: What is told of the last load that did not hold.
    """

    rate: float = 0.0
    p99_ms: float = math.inf
    too_high: float = math.inf
    why: str = ""


Ask = Callable[[float | None], Seen]  # a rate, or None for a closed loop


def holds(rate: float, seen: Seen, slo_ms: float) -> bool:
    """Whether a rate is sustained: all answered, as fast as they came, 99 of 100 inside the bound."""
    if seen.answered <= 0 or seen.throughput <= 0:
        return False
    came = max(1.0, seen.answered * rate / seen.throughput)
    least = rate * (1 - max(_SHORT, _CHANCE / math.sqrt(came)))
    waiting = seen.unsent > _UNSENT * max(1, seen.answered)
    return seen.errors == 0 and seen.p99_ms <= slo_ms and seen.throughput >= least and not waiting


def sustained(
    ask: Ask,
    slo_ms: float,
    loads: int,
    *,
    known: Sustained | None = None,
    close: float = 1.02,
    patience: int = 0,
) -> Sustained:
    """Find the highest rate that holds, by at most `loads` loads.

    Rates are halved and raised by a quarter until one holds and one does not, and then halved in between, on
    a scale of ratios. A closed loop tells where to begin.

    Args:
        slo_ms: The bound on the 99th percentile.
        known: What was found before, in less time: where to begin. It is not taken for granted.
        close: Ratio of the two bounds at which the search ends.
        patience: So many loads more while no rate has held.
    """
    found, hint, down = Sustained(), math.inf, _DOWN
    if known is not None and known.rate > 0:
        rate, hint, down = known.rate, known.too_high, _DOWN_FROM_KNOWN
    else:
        seen = ask(None)
        loads -= 1
        if seen.throughput <= 0:
            return replace(found, why=seen.why)
        rate = _OF_CAPACITY * seen.throughput
    for place in range(loads + patience):
        if place >= loads and found.rate > 0:
            break
        seen = ask(rate)
        if holds(rate, seen, slo_ms):
            found = replace(found, rate=rate, p99_ms=seen.p99_ms)
        else:
            p99_ms = found.p99_ms if found.rate > 0 else min(found.p99_ms, seen.p99_ms)
            found = replace(found, too_high=rate, p99_ms=p99_ms, why=seen.why)
        if found.rate > 0 and found.too_high / found.rate <= close:
            break
        rate = _next(found, hint, down)
    return found


def _next(found: Sustained, hint: float, down: float) -> float:
    """The next rate to try. `hint`: one that did not hold before."""
    if found.rate <= 0:
        return found.too_high * down
    too_high = min(found.too_high, hint) if hint > found.rate else found.too_high
    return found.rate * _UP if math.isinf(too_high) else math.sqrt(found.rate * too_high)

"""Measures one load on one target: warm-up, then windows of time until they are alike."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from falaj._core import Unsupported
from falaj.server.bench.load import Load
from falaj.server.bench.measured import Measured, Window
from falaj.server.bench.target import Target


@dataclass(frozen=True)
class Progress:
    """How far a measurement is. `windows` are those so far; `elapsed_s` counts from the first request."""

    phase: Literal["warm-up", "window"]
    elapsed_s: float
    windows: tuple[Window, ...]


def measure(
    target: Target,
    load: Load,
    *,
    warm_up_s: float = 1.0,
    window_s: float = 1.0,
    max_windows: int = 10,
    stability: float = 0.1,
    progress: Callable[[Progress], None] | None = None,
) -> Measured:
    """Ask until three windows in a row are alike, or `max_windows` are over; return the last three's figures.

    Errors of requests are counted, not raised. A window in which nothing but errors came is the last.

    Args:
        warm_up_s: Seconds of the same load before the first window.
        window_s: Seconds of a window.
        max_windows: At least 1.
        stability: Share of their mean that throughput and median latency of three windows may be off.
        progress: Called a few times a second, on this thread. What it raises ends the measurement.

    Raises:
        InvalidInput: The target or the load makes no sense, or its inputs do not fit the model.
        NotFound: The server has no such model or version.
        Unavailable: The server cannot be reached before the measurement, or refuses the first request.
    """
    raise Unsupported("the native load generator is not built yet")

"""Whether windows of time are alike enough to be believed."""

from collections.abc import Sequence

from falaj.server.bench.measured import Window

ALIKE = 3  # windows, as perf_analyzer has it


def is_stable(windows: Sequence[Window], share: float) -> bool:
    """Whether throughput and median latency of each of the last three are within a share of their mean."""
    last = windows[-ALIKE:]
    if len(last) < ALIKE or any(window.answered == 0 for window in last):
        return False
    return _close([window.throughput for window in last], share) and _close(
        [window.p50_us for window in last], share
    )


def _close(values: Sequence[float], share: float) -> bool:
    mean = sum(values) / len(values)
    return all(abs(value - mean) <= share * mean for value in values)

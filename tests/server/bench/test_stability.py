"""When windows are alike."""

from falaj.server.bench.measured import Window
from falaj.server.bench.stability import is_stable


def _windows(*figures: tuple[float, float]) -> list[Window]:
    return [Window(1.0, int(rate), rate, p50, p50, 0) for rate, p50 in figures]


def test_windows_are_stable_when_the_last_three_are_alike() -> None:
    assert is_stable(_windows((10, 900), (1000, 10), (1050, 10.5), (1000, 10)), 0.1)


def test_windows_are_not_stable_when_too_few_or_apart_or_empty() -> None:
    assert not is_stable(_windows((1000, 10), (1000, 10)), 0.1)
    assert not is_stable(_windows((1000, 10), (1000, 10), (1300, 10)), 0.1)
    assert not is_stable(_windows((1000, 10), (1000, 10), (1000, 15)), 0.1)  # it grows: a queue does
    assert not is_stable(_windows((0, 0), (0, 0), (0, 0)), 0.1)

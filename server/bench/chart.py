"""Curves of latency against throughput as SVG."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 760, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 20, 20, 52
COLOURS = ("#1f6feb", "#d1242f", "#1a7f37", "#9a6700", "#8250df", "#57606a")
_TICKS = 6
_LEAST = 1e-3  # a nanosecond; one request in a quarter of an hour


@dataclass(frozen=True)
class Curve:
    """One line: points of throughput a second, latency in microseconds, and what is said when pointed at."""

    name: str
    points: Sequence[tuple[float, float, str]]


def chart(title: str, curves: Sequence[Curve]) -> str:
    """Return an SVG element: throughput from 0 on, latency on a logarithmic scale."""
    points = [(x, y) for curve in curves for x, y, _ in curve.points if y > 0]
    if not points:
        return f"<p>{escape(title)}: no request was answered.</p>"
    most = max(_LEAST, *(x for x, _ in points)) * 1.05
    low = math.floor(math.log10(max(_LEAST, min(y for _, y in points))))
    high = max(low + 1, math.ceil(math.log10(max(y for _, y in points))))
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def across(x: float) -> float:
        return _LEFT + width * x / most

    def down(y: float) -> float:
        return _TOP + height * (1 - (math.log10(max(y, 10.0**low)) - low) / (high - low))

    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"><title>{escape(title)}</title>']
    parts += _axes(most, low, high, across, down)
    for number, curve in enumerate(curves):
        parts += _curve(curve, COLOURS[number % len(COLOURS)], across, down)
    return "\n".join([*parts, "</svg>"])


def _axes(
    most: float, low: int, high: int, across: Callable[[float], float], down: Callable[[float], float]
) -> Iterator[str]:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    step = _round_step(most / _TICKS)
    for tick in range(int(most / step) + 1):
        x = across(tick * step)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}"/>'
        yield f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{tick * step:,.10g}</text>'
    for exponent in range(low, high + 1):
        y = down(10.0**exponent)
        yield f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{_time(10.0**exponent)}</text>'
    yield f'<text x="{(_LEFT + right) / 2}" y="{_HEIGHT - 10}" text-anchor="middle">requests/s</text>'


def _curve(
    curve: Curve, colour: str, across: Callable[[float], float], down: Callable[[float], float]
) -> Iterator[str]:
    shown = [(across(x), down(y), text) for x, y, text in curve.points if y > 0]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in shown)
    yield f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{path}"/>'
    for x, y, text in shown:
        dot = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}">'
        yield f"{dot}<title>{escape(curve.name)}: {escape(text)}</title></circle>"


def _round_step(least: float) -> float:
    """Return the least of 1, 2, 5 times a power of ten that is not below."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


def _time(microseconds: float) -> str:
    if microseconds >= 1e6:
        return f"{microseconds / 1e6:,.10g} s"
    return f"{microseconds / 1e3:,.10g} ms" if microseconds >= 1e3 else f"{microseconds:,.10g} µs"

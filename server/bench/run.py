"""Every load on every target, in turns."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from falaj._core import Error
from falaj.server.bench.asked import Asked, prepare
from falaj.server.bench.load import Load
from falaj.server.bench.measure import Progress, measure_asked
from falaj.server.bench.report import Point
from falaj.server.bench.target import Target


@dataclass(frozen=True)
class Windows:
    """How long a load is measured: see `measure`."""

    warm_up_s: float = 1.0
    window_s: float = 1.0
    max_windows: int = 10
    stability: float = 0.1


@dataclass(frozen=True)
class Step:
    """What is being measured: the `number`-th of `count`, from 0."""

    number: int
    count: int
    target: Target
    load: Load
    progress: Progress


@dataclass(frozen=True)
class Ran:
    """The points that were measured, and what kept the others from it; empty where nothing did."""

    points: list[Point]
    problem: str = ""


def run(
    targets: Sequence[Target],
    loads: Sequence[Load],
    windows: Windows,
    tell: Callable[[Step], None] | None = None,
) -> Ran:
    """Measure each load on each target, so that what changes in the meantime touches all targets alike.

    All targets are asked once before the first is measured. Raises as `measure` does, until there is a point:
    what was measured is not lost where a server is gone after it, or the user has seen enough.
    """
    slots = max((load.concurrency for load in loads), default=1)
    with ExitStack() as closing:
        every = [closing.enter_context(prepare(target, slots=slots)) for target in targets]
        return _run(every, loads, windows, tell)


def _run(
    every: Sequence[Asked],
    loads: Sequence[Load],
    windows: Windows,
    tell: Callable[[Step], None] | None,
) -> Ran:
    pairs = [(load, asked) for load in loads for asked in every]
    points: list[Point] = []
    for number, (load, asked) in enumerate(pairs):
        step = partial(Step, number, len(pairs), asked.target, load)
        try:
            measured = measure_asked(
                asked,
                load,
                warm_up_s=windows.warm_up_s,
                window_s=windows.window_s,
                max_windows=windows.max_windows,
                stability=windows.stability,
                progress=None if tell is None else partial(_tell, tell, step),
            )
        except (Error, KeyboardInterrupt) as error:
            if not points:
                raise
            why = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
            return Ran(points, f"{len(points)} of {len(pairs)} loads were measured: {why}")
        target = asked.target
        points.append(Point(target.label, target.url, target.model, asked.form, load, measured))
    return Ran(points)


def _tell(tell: Callable[[Step], None], step: Callable[[Progress], Step], progress: Progress) -> None:
    tell(step(progress))

"""Measures one load on one target: warm-up, then windows of time until they are alike."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from falaj._core import InvalidInput, LatencyHistogram, LoadRun
from falaj.server.bench.asked import Asked, prepare
from falaj.server.bench.load import Load
from falaj.server.bench.measured import Breakdown, Measured, Window
from falaj.server.bench.stability import ALIKE, is_stable
from falaj.server.bench.target import Target
from falaj.server.bench.v2_client import Counts

_POLL_SECONDS = 0.1
# What is under way at the end is waited for so long at most, though a request's timeout may be longer.
_MOST_GRACE = 10.0
# Sequences are ended in so many seconds where a measurement is broken off.
_BROKEN_OFF_GRACE = 2.0
_QUANTILES = (0.5, 0.9, 0.99, 0.999)


@dataclass(frozen=True)
class Progress:
    """How far a measurement is. `windows` are those so far; `elapsed_s` counts from the first request."""

    phase: Literal["warm-up", "window"]
    elapsed_s: float
    windows: tuple[Window, ...]


@dataclass(frozen=True)
class _Part:
    """A window as the core tells it, and the server's counts at its end."""

    told: dict[str, Any]
    window: Window
    counts: Counts | None


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
    with prepare(target, slots=load.concurrency) as asked:
        return measure_asked(
            asked,
            load,
            warm_up_s=warm_up_s,
            window_s=window_s,
            max_windows=max_windows,
            stability=stability,
            progress=progress,
        )


def measure_asked(
    asked: Asked,
    load: Load,
    *,
    warm_up_s: float,
    window_s: float,
    max_windows: int,
    stability: float,
    progress: Callable[[Progress], None] | None,
) -> Measured:
    """Measure a target that was prepared; as `measure`."""
    if max_windows < 1:
        raise InvalidInput(f"windows: expected at least 1, got {max_windows}")
    if 0 < asked.slots < load.concurrency:
        raise InvalidInput(f"shared memory: expected at most {asked.slots} requests under way, as prepared")
    sequences = asked.target.sequences
    options = {
        "pace": load.arrivals,
        "rate": float(load.rate),
        "concurrency": load.concurrency,
        "streams": load.streams,
        "threads": load.threads,
        "warm_up": warm_up_s,
        "window": window_s,
        "timeout": asked.target.timeout_s,
        "sequences": None if sequences is None else sequences.native(),
    }
    run = LoadRun(asked.native, options)
    rest: dict[str, Any] | None = None
    try:
        parts, before = _windows(run, asked, warm_up_s, window_s, max_windows, stability, progress)
        rest = run.stop(min(asked.target.timeout_s, _MOST_GRACE))
    finally:
        if rest is None:
            run.stop(0 if sequences is None else _BROKEN_OFF_GRACE)
    return _measured(parts, before, rest, stability, sequences is not None)


def _windows(
    run: LoadRun,
    asked: Asked,
    warm_up_s: float,
    window_s: float,
    max_windows: int,
    stability: float,
    progress: Callable[[Progress], None] | None,
) -> tuple[list[_Part], Counts | None]:
    """Return the windows, and the server's counts when the first began."""
    begin = time.monotonic()
    parts: list[_Part] = []
    before: Counts | None = None
    warm = False
    while len(parts) < max_windows:
        elapsed = time.monotonic() - begin
        if not warm and elapsed >= warm_up_s:
            warm, before = True, _counts(asked)
        if progress is not None:
            windows = tuple(part.window for part in parts)
            progress(Progress("window" if warm else "warm-up", elapsed, windows))
        wait = _POLL_SECONDS if warm else min(_POLL_SECONDS, max(0.0, warm_up_s - elapsed))
        told = run.next(wait)
        if told is None:
            continue
        window = _window(told)
        parts.append(_Part(told, window, _counts(asked)))
        hopeless = window.answered == 0 and window.errors > 0
        if hopeless or is_stable([part.window for part in parts], stability):
            break
    return parts, before


def _counts(asked: Asked) -> Counts | None:
    from falaj._core import Error

    with suppress(Error):  # a server that is overloaded, or gone: the figures are the clients' alone
        return asked.counts()
    return None


def _window(told: dict[str, Any]) -> Window:
    latency: LatencyHistogram = told["latency"]
    return Window(
        seconds=told["seconds"],
        answered=told["answered"],
        throughput=told["answered"] / max(told["seconds"], 1e-9),
        p50_us=latency.quantile_us(0.5),
        p99_us=latency.quantile_us(0.99),
        errors=sum(count for count, _ in told["errors"].values()),
    )


def _measured(
    parts: list[_Part], before: Counts | None, rest: dict[str, Any], stability: float, of_sequences: bool
) -> Measured:
    taken = parts[-ALIKE:]
    if len(parts) > ALIKE:
        before = parts[-ALIKE - 1].counts
    latency, late = LatencyHistogram(), LatencyHistogram()
    errors: dict[str, int] = {}
    texts: dict[str, str] = {}
    for told in [*(part.told for part in taken), rest]:
        latency.merge(told["latency"])
        late.merge(told["late"])
    for told in [*(part.told for part in parts), rest]:
        for kind, (count, text) in told["errors"].items():
            errors[kind] = errors.get(kind, 0) + count
            texts.setdefault(kind, text)
    answered = sum(part.window.answered for part in taken)
    seconds = sum(part.window.seconds for part in taken)
    cpu = sum(part.told["cpu_seconds"] for part in taken)
    p50, p90, p99, p999 = (latency.quantile_us(q) for q in _QUANTILES)
    windows = tuple(part.window for part in parts)
    return Measured(
        throughput=answered / seconds,
        p50_us=p50,
        p90_us=p90,
        p99_us=p99,
        p999_us=p999,
        mean_us=latency.mean_us,
        max_us=latency.max_us,
        answered=latency.count,
        errors=errors,
        error_texts=texts,
        client_cpu_us_per_request=cpu / answered * 1e6 if answered else 0.0,
        windows=windows,
        stable=is_stable(windows, stability),
        late_p99_us=late.quantile_us(0.99),
        unsent=rest["unsent"],
        server=_breakdown(before, parts[-1].counts),
        sequences_per_s=sum(part.told["sequences"] for part in taken) / seconds if of_sequences else None,
        sequences_left=rest["sequences_left"],
    )


def _breakdown(before: Counts | None, after: Counts | None) -> Breakdown | None:
    """Return what happened in between; None where the server does not say, or began to count anew."""
    if before is None or after is None or after.success <= before.success:
        return None
    executions = max(0, after.executions - before.executions)

    def mean_us(phase: int) -> float:
        count = after.phases[phase] - before.phases[phase]
        return (after.phases_ns[phase] - before.phases_ns[phase]) / count / 1e3 if count > 0 else 0.0

    queue, compute_input, compute_infer, compute_output = (mean_us(phase) for phase in range(4))
    return Breakdown(
        requests=after.success - before.success,
        failed=max(0, after.fail - before.fail),
        executions=executions,
        mean_batch=(after.inferences - before.inferences) / executions if executions else 0.0,
        queue_us=queue,
        compute_input_us=compute_input,
        compute_infer_us=compute_infer,
        compute_output_us=compute_output,
    )

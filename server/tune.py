"""The `auto` choices: how many instances, how many threads each, how many rows a batch; measured at load."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from falaj import _core
from falaj.server import arrays
from falaj.server.model_config import ModelConfig
from falaj.server.probe import Arrays, sample
from falaj.server.tensors import Tensor

# Batches above this add latency and memory for throughput that small models no longer gain.
MAX_AUTO_BATCH = 128
_ROWS_TRIED = 8
# A choice must be this much better than the default to be taken: less is noise.
_MARGIN = 1.05
# A run that is over sooner, in seconds, leaves nothing to share between threads, and hundreds of them fit
# into a short trial: a server of small models is ready sooner, and chance decides less.
_SHORT_RUN = 100e-6
_SHORT_TRIAL = 8e-3
# A smaller batch that is this close to the fastest is preferred: its answers come sooner.
_CLOSE_ENOUGH = 0.97


@dataclass(frozen=True)
class Choice:
    """Instances, intra-op threads of one run, rows of a batch (0: never batch), and the reason for them."""

    instances: int
    threads: int
    max_batch_size: int
    why: str


Load = Callable[[int], _core.Backend]  # loads the model with so many threads


def candidates(config: ModelConfig, cores: int) -> list[tuple[int, int]]:
    """(instances, threads) worth trying, the default first. None keeps more than `cores` cores busy unless
    the configuration asks for it."""
    instances, threads = config.instances, config.threads
    if isinstance(instances, int) and isinstance(threads, int):
        return [(instances, threads)]
    if isinstance(instances, int):
        return list(dict.fromkeys([(instances, 1), (instances, max(1, cores // instances))]))
    if isinstance(threads, int):
        return [(max(1, cores // threads), threads)]
    pairs = [(cores // threads, threads) for threads in (1, 2, 4, cores) if threads <= cores]
    return list(dict.fromkeys(pairs))


def tune(
    config: ModelConfig,
    cores: int,
    load: Load,
    inputs: tuple[Tensor, ...],
    batchable: bool,
    axis_size: int | None,
) -> tuple[Choice, _core.Backend]:
    """Choose by running the model itself, for about `config.tune_ms` in all, less where its runs are short;
    return the choice and the backend loaded for it."""
    pairs = candidates(config, cores)
    fixed_batch = config.max_batch_size if config.max_batch_size is not None else (None if batchable else 0)
    instances, threads = pairs[0]
    if axis_size is None or config.tune_ms == 0:
        backend = load(threads)
        batch = fixed_batch if fixed_batch is not None else _ROWS_TRIED * 4
        why = "trials are off (tune_ms = 0)" if axis_size is not None else "no made-up input was accepted"
        return Choice(instances, threads, batch, f"defaults: {why}"), backend
    rows = 1 if fixed_batch == 0 else min(_ROWS_TRIED, fixed_batch or _ROWS_TRIED)
    seconds = config.tune_ms / 1000 / (2 * len(pairs))
    backend = load(threads)
    inputs_tried = sample(inputs, rows, axis_size)
    rate, per_run = backend.measure(
        inputs_tried, rows, instances, min(_SHORT_TRIAL, seconds), arrays.from_python
    )
    is_short = per_run < _SHORT_RUN
    if is_short:
        tried = f"{instances} x {threads}: {rate:,.0f} rows/s, {per_run * 1e6:.0f} µs a run"
    else:
        (instances, threads), backend, tried = _best(load, pairs, backend, inputs_tried, rows, seconds)
    why = f"instances x threads at {rows} rows: {tried}"
    if fixed_batch is None:
        total = config.tune_ms / 2000
        each = min(_SHORT_TRIAL, total / 8) if is_short else total / 8
        fixed_batch, rates = _batch_size(backend, instances, inputs, axis_size, each, total)
        why += f"; rows of a batch: {rates}"
    return Choice(instances, threads, fixed_batch, why), backend


def _best(
    load: Load,
    pairs: list[tuple[int, int]],
    first: _core.Backend,
    inputs: Arrays,
    rows: int,
    seconds: float,
) -> tuple[tuple[int, int], _core.Backend, str]:
    """Try every pair for so long; return the best, its backend, and what all gave. `first` is the first's."""
    backends = [first, *(load(threads) for _, threads in pairs[1:])]
    rates = [
        backend.measure(inputs, rows, instances, seconds, arrays.from_python)[0]
        for backend, (instances, _) in zip(backends, pairs, strict=True)
    ]
    best = max(range(len(pairs)), key=lambda i: rates[i] * (_MARGIN if i == 0 else 1))
    told = [
        f"{instances} x {threads}: {rate:,.0f} rows/s"
        for (instances, threads), rate in zip(pairs, rates, strict=True)
    ]
    return pairs[best], backends[best], ", ".join(told)


def _batch_size(
    backend: _core.Backend,
    instances: int,
    inputs: tuple[Tensor, ...],
    axis_size: int,
    each: float,
    total: float,
) -> tuple[int, str]:
    """The smallest power of two whose throughput is close to the best, tried upwards for `each` seconds until
    the total is up or larger batches stop paying."""
    rates: dict[int, float] = {}
    end = time.monotonic() + total
    rows = 1
    while rows <= MAX_AUTO_BATCH and (time.monotonic() < end or rows <= _ROWS_TRIED):
        made = sample(inputs, rows, axis_size)
        rates[rows] = backend.measure(made, rows, instances, each, arrays.from_python)[0]
        if rows > 4 * max(rates, key=lambda r: rates[r]):
            break
        rows *= 2
    best = max(rates.values())
    chosen = min(rows for rows, rate in rates.items() if rate >= _CLOSE_ENOUGH * best)
    shown = ", ".join(f"{rows}: {rate:,.0f}/s" for rows, rate in rates.items())
    return max(chosen, _ROWS_TRIED), shown

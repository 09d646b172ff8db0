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
    """Choose by running the model itself, for about `config.tune_ms` in all; return the choice and the
    backend loaded for it."""
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
    found = [_try(load, pair, sample(inputs, rows, axis_size), rows, seconds) for pair in pairs]
    best = max(range(len(found)), key=lambda i: found[i][0] * (_MARGIN if i == 0 else 1))
    instances, threads = pairs[best]
    backend = found[best][1]
    tried = ", ".join(
        f"{pair[0]} x {pair[1]}: {rate:,.0f} rows/s" for pair, (rate, _) in zip(pairs, found, strict=True)
    )
    why = f"instances x threads at {rows} rows: {tried}"
    if fixed_batch is None:
        fixed_batch, rates = _batch_size(backend, instances, inputs, axis_size, config.tune_ms / 2000)
        why += f"; rows of a batch: {rates}"
    return Choice(instances, threads, fixed_batch, why), backend


def _try(
    load: Load, pair: tuple[int, int], inputs: Arrays, rows: int, seconds: float
) -> tuple[float, _core.Backend]:
    backend = load(pair[1])
    return backend.measure(inputs, rows, pair[0], seconds, arrays.from_python)[0], backend


def _batch_size(
    backend: _core.Backend, instances: int, inputs: tuple[Tensor, ...], axis_size: int, seconds: float
) -> tuple[int, str]:
    """The smallest power of two whose throughput is close to the best, tried upwards until time is up or
    larger batches stop paying."""
    rates: dict[int, float] = {}
    end = time.monotonic() + seconds
    rows = 1
    while rows <= MAX_AUTO_BATCH and (time.monotonic() < end or rows <= _ROWS_TRIED):
        made = sample(inputs, rows, axis_size)
        rates[rows] = backend.measure(made, rows, instances, seconds / 8, arrays.from_python)[0]
        if rows > 4 * max(rates, key=lambda r: rates[r]):
            break
        rows *= 2
    best = max(rates.values())
    chosen = min(rows for rows, rate in rates.items() if rate >= _CLOSE_ENOUGH * best)
    shown = ", ".join(f"{rows}: {rate:,.0f}/s" for rows, rate in rates.items())
    return max(chosen, _ROWS_TRIED), shown

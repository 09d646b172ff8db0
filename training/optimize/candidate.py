"""A model file as the server would run it: loaded by the engine, and its answers."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj import _core
from falaj.training.errors import TrainingError
from falaj.training.onnx_backend import load_onnx
from falaj.training.optimize.quiet import without_folder
from falaj.training.original import Arrays

_NAME = "candidate"
# The server tries instances and threads; here every candidate has one of each.
_SETTINGS = "instances = 1\nthreads = 1\ntune_ms = 0\n"
_CHUNK = 128


@dataclass(frozen=True)
class Candidate:
    """A model that the engine has taken.

    Attributes:
        inputs: (name, datatype, shape); -1 is a variable size.
        outputs: (name, datatype).
        batchable: Whether the server would put rows of several requests together.
        batchable_because: What it found when it tried.
        load_ms: Of reading and optimising it, once.
    """

    path: Path
    backend: _core.Backend
    inputs: tuple[tuple[str, str, tuple[int, ...]], ...]
    outputs: tuple[tuple[str, str], ...]
    batchable: bool
    batchable_because: str
    load_ms: float

    def answers(self, rows: Arrays) -> dict[str, NDArray[Any]]:
        """Answer rows as the server would: many at a time, or each alone where it would not batch them.

        Raises:
            falaj errors: The model fails on them.
        """
        total = rows_of(rows)
        step = _CHUNK if self.batchable else 1
        parts = [
            self.backend.run(taken(rows, start, start + step), as_given)
            for start in range(0, max(total, 1), step)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def open_candidate(model: Path, folder: Path) -> Candidate:
    """Load a model through the engine, and once more for runs without its batcher.

    Args:
        folder: Where it is put as a repository of its own; is made, and stays.

    Raises:
        TrainingError: The engine does not load it; the message says why.
    """
    import time

    from falaj import Engine

    version = folder / _NAME / "1"
    version.mkdir(parents=True)
    shutil.copyfile(model, version / "model.onnx")
    (folder / _NAME / "model.toml").write_text(_SETTINGS)
    try:
        begin = time.perf_counter()
        backend = load_onnx(version / "model.onnx")
        load_ms = (time.perf_counter() - begin) * 1e3
        with Engine(folder, cores=1, strict=True) as engine:
            told = engine.describe(_NAME)
    except _core.Error as error:
        why = without_folder(str(error), version)
        raise TrainingError(f"{model.name}: the engine does not load it: {why}") from error
    return Candidate(
        path=version / "model.onnx",
        backend=backend,
        inputs=tuple((name, datatype, tuple(shape)) for name, datatype, shape, *_ in backend.inputs),
        outputs=tuple((name, datatype) for name, datatype, *_ in backend.outputs),
        batchable=bool(told["batchable"]),
        batchable_because=str(told["batchable_because"]),
        load_ms=load_ms,
    )


def rows_of(rows: Arrays) -> int:
    """Return how many rows arrays of [rows, ...] have. Raises TrainingError where they differ."""
    counts = {name: len(array) if np.ndim(array) else -1 for name, array in rows.items()}
    if len(set(counts.values())) != 1 or -1 in counts.values():
        raise TrainingError(f"rows: expected arrays of as many rows each, got {counts or 'none'}")
    return next(iter(counts.values()))


def taken(rows: Arrays, start: int, stop: int) -> dict[str, NDArray[Any]]:
    """Return some of the rows, each input in one piece of memory."""
    return {name: np.ascontiguousarray(array[start:stop]) for name, array in rows.items()}


def chosen(rows: Arrays, places: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Return the rows at some places, in their order."""
    return {name: np.ascontiguousarray(array[places]) for name, array in rows.items()}


def check_rows(candidate: Candidate, rows: Arrays) -> None:
    """Raise TrainingError where rows are not what the model takes: names, types or shapes."""
    wanted = {name for name, _, _ in candidate.inputs}
    if set(rows) != wanted:
        raise TrainingError(f"rows: expected {', '.join(sorted(wanted))}, got {', '.join(sorted(rows))}")
    rows_of(rows)
    types: Mapping[str, str] = _NUMPY
    for name, datatype, shape in candidate.inputs:
        array = rows[name]
        fits = array.ndim == len(shape) and all(
            expected in (-1, size) for expected, size in zip(shape[1:], array.shape[1:], strict=True)
        )
        if not shape or shape[0] != -1:
            raise TrainingError(
                f"input {name!r}: expected a variable first dimension, the rows, got {list(shape)}"
            )
        if not fits or array.dtype.name != types.get(datatype, ""):
            raise TrainingError(
                f"rows: input {name!r}: expected {datatype} {list(shape)}, "
                f"got {array.dtype} {list(array.shape)}"
            )


def as_given(value: Any, _datatype: str) -> NDArray[Any]:
    """What the core asks for values that are no arrays; here all are."""
    return np.asarray(value)


_NUMPY = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "BF16": "bfloat16",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
    "BYTES": "object",
}

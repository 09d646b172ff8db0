"""Finds out by trying whether a model can be batched, and what its outputs really look like."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from falaj import _core
from falaj.server import arrays
from falaj.server.give_way import give_way
from falaj.server.tensors import Tensor

Arrays = dict[str, npt.NDArray[Any]]

# Sizes tried for variable axes other than the batch: a small one, one that a sequence or a convolution
# accepts, and the usual size of an image.
_AXIS_SIZES = (8, 32, 224)
_ROWS = 3
# Batched and single runs take different kernels, whose rounding differs; a model whose rows depend on each
# other is off by far more.
_RTOL, _ATOL = 1e-2, 1e-3


@dataclass(frozen=True)
class Probe:
    """What was found. `axis_size` is None where no made-up input was accepted by the model."""

    batchable: bool
    why: str
    axis_size: int | None
    outputs: tuple[Tensor, ...]


def sample(inputs: tuple[Tensor, ...], rows: int, axis_size: int) -> Arrays:
    """Made-up inputs: `rows` rows, variable axes of `axis_size` (equal names are equal sizes anyway). The
    same ones every time."""
    generator = np.random.default_rng(0)
    made = {}
    for tensor in inputs:
        shape = tuple(
            rows if axis == 0 and size == -1 else (axis_size if size == -1 else size)
            for axis, size in enumerate(tensor.shape)
        )
        made[tensor.name] = arrays.random(tensor.datatype, shape, generator)
    return made


def probe(backend: _core.Backend, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> Probe:
    """Run the model on made-up rows together and one by one, and compare.

    A model is batchable when every input's first dimension is variable, every output has one result per row,
    and each row's results do not depend on the others'.
    """
    declared = _declared_obstacle(inputs)
    axis_size, together = _first_accepted(backend, inputs)
    if together is None:
        why = declared or "no made-up input was accepted, so it could not be tried"
        return Probe(False, why, None, outputs)
    seen = _correct(outputs, together)
    if declared:
        return Probe(False, declared, axis_size, seen)
    give_way()
    batch = sample(inputs, _ROWS, axis_size)
    give_way()
    try:
        whole = backend.run(batch, arrays.from_python)
        for name, array in whole.items():
            if array.ndim == 0 or array.shape[0] != _ROWS:
                why = f"output '{name}' has shape {list(array.shape)} for {_ROWS} rows"
                return Probe(False, why, axis_size, seen)
        for row in range(_ROWS):
            alone = backend.run({k: v[row : row + 1] for k, v in batch.items()}, arrays.from_python)
            for name, array in alone.items():
                if not _same(whole[name][row : row + 1], array):
                    why = f"output '{name}' of a row changes with the other rows of its batch"
                    return Probe(False, why, axis_size, seen)
    except _core.Error as error:
        return Probe(False, f"a batch of {_ROWS} rows failed: {error}", axis_size, seen)
    return Probe(True, f"{_ROWS} rows together gave what they gave alone", axis_size, _correct(seen, whole))


def _declared_obstacle(inputs: tuple[Tensor, ...]) -> str:
    for tensor in inputs:
        if not tensor.shape or tensor.shape[0] != -1:
            return f"input '{tensor.name}' {list(tensor.shape)} has no variable first dimension"
    return "" if inputs else "it has no inputs"


def _first_accepted(backend: _core.Backend, inputs: tuple[Tensor, ...]) -> tuple[int, Arrays | None]:
    variable = any(-1 in tensor.shape[1:] for tensor in inputs)
    for axis_size in _AXIS_SIZES if variable else _AXIS_SIZES[:1]:
        try:
            made = sample(inputs, 1, axis_size)
            give_way()
            return axis_size, backend.run(made, arrays.from_python)
        except _core.Error:
            continue
    return 0, None


def _correct(outputs: tuple[Tensor, ...], seen: Mapping[str, npt.NDArray[Any]]) -> tuple[Tensor, ...]:
    """The declared outputs with sizes that did not hold made variable: converters get them wrong."""
    corrected = []
    for tensor in outputs:
        shape = seen[tensor.name].shape
        if len(shape) != len(tensor.shape):
            corrected.append(tensor.with_shape((-1,) * len(shape)))
        else:
            sizes = zip(tensor.shape, shape, strict=True)
            corrected.append(tensor.with_shape(tuple(d if d in (-1, s) else -1 for d, s in sizes)))
    return tuple(corrected)


def _same(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> bool:
    if a.shape != b.shape:
        return False
    if a.tobytes() == b.tobytes() and a.dtype.kind != "O":
        return True
    if a.dtype.kind in "fV":
        wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
        return bool(np.allclose(wide_a, wide_b, rtol=_RTOL, atol=_ATOL, equal_nan=True))
    return bool(np.array_equal(a, b))

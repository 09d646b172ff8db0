"""The tensors of requests: made up from what a model says of its inputs, or read from a file."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from falaj._core import InvalidInput
from falaj.server import arrays
from falaj.server.bench.target import Target
from falaj.server.tensors import Tensor

Inputs = dict[str, tuple[str, npt.NDArray[Any]]]  # by name, its datatype and values
# So many different requests are made up, fewer where they are large: a server may remember the last one.
_MADE_UP = 16
_MOST_BYTES = 16 << 20
_SEED = 7
# Requests of a file, in memory.
_MOST_FILE_BYTES = 1 << 30
_MOST_FILE_REQUESTS = 10_000
# Names of NumPy types that are not V2's in lower case.
_FIXED = {"float16": "FP16", "float32": "FP32", "float64": "FP64", "bfloat16": "BF16"}


def inputs_of(target: Target, tensors: Sequence[Tensor]) -> list[Inputs]:
    """Return the inputs of the requests, which are asked in turn.

    Raises:
        InvalidInput: The file, or a shape, does not fit the model; a variable dimension has no size.
    """
    if target.batch_size < 1:
        raise InvalidInput(f"batch size: expected at least 1, got {target.batch_size}")
    known = {tensor.name for tensor in tensors}
    for what, names in (("shape of", target.shapes), ("without", target.without)):
        for name in names:
            if name not in known:
                has = ", ".join(f"'{other}'" for other in sorted(known)) or "none that it tells of"
                raise InvalidInput(f"{what} '{name}': the model has no such input; it has {has}")
    tensors = [tensor for tensor in tensors if tensor.name not in target.without]
    if target.data is not None:
        return _read(target.data, target, tensors)
    if not tensors:
        raise InvalidInput(
            f"{target.label}: the server does not say what the inputs are: expected a file of them"
        )
    return list(_made_up(target, tensors))


def shape_of(tensor: Tensor, target: Target) -> tuple[int, ...]:
    """Return the whole shape of a request's tensor.

    A first dimension that is variable is the batch's, unless the target tells the shape with it.
    """
    told = target.shapes.get(tensor.name)
    batched = bool(tensor.shape) and tensor.shape[0] == -1
    where = f"input '{tensor.name}' {list(tensor.shape)}"
    if told is None:
        if -1 in tensor.shape[batched:]:
            raise InvalidInput(f"{where}: expected a shape for its variable dimensions")
        return (target.batch_size,) * batched + tensor.shape[batched:]
    if batched and len(told) == len(tensor.shape) - 1:
        told = (target.batch_size, *told)
    fits = len(told) == len(tensor.shape) and all(
        size == of or (of == -1 and size >= 0) for size, of in zip(told, tensor.shape, strict=True)
    )
    if not fits:
        raise InvalidInput(f"{where}: expected a shape that fits it, got {list(target.shapes[tensor.name])}")
    return told


def _made_up(target: Target, tensors: Sequence[Tensor]) -> Iterator[Inputs]:
    generator = np.random.default_rng(_SEED)
    for tensor in tensors:
        _check_datatype(tensor.name, tensor.datatype)
    shapes = {tensor.name: shape_of(tensor, target) for tensor in tensors}
    size = sum(8 * int(np.prod(shape, dtype=np.float64)) for shape in shapes.values())
    if size > _MOST_FILE_BYTES:
        raise InvalidInput(f"{target.label}: a request would have {size:,} bytes, expected at most 1 GiB")
    for _ in range(max(1, min(_MADE_UP, _MOST_BYTES // max(1, size)))):
        yield {
            tensor.name: (tensor.datatype, arrays.random(tensor.datatype, shapes[tensor.name], generator))
            for tensor in tensors
        }


def _check_datatype(name: str, datatype: object) -> None:
    try:
        arrays.numpy_type(str(datatype))
    except KeyError:
        raise InvalidInput(f"input '{name}': expected a datatype of V2, got {datatype!r}") from None


def _read(path: Path, target: Target, tensors: Sequence[Tensor]) -> list[Inputs]:
    try:
        if path.stat().st_size > _MOST_FILE_BYTES:
            raise InvalidInput(f"{path}: expected at most 1 GiB")
        if path.suffix == ".npz":
            return list(_of_arrays(path, target, tensors))
        if path.suffix == ".json":
            return _of_json(path)
    except (OSError, ValueError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"{path}: cannot be read: {error}") from error
    raise InvalidInput(f"{path}: expected .json or .npz")


def _of_arrays(path: Path, target: Target, tensors: Sequence[Tensor]) -> Iterator[Inputs]:
    """Cut the rows of the arrays into batches; those of inputs without a batch's dimension are whole."""
    with np.load(path, allow_pickle=False) as file:
        given = {name: file[name] for name in file.files}
    by_name = {tensor.name: tensor for tensor in tensors}
    for name in given:
        if tensors and name not in by_name:
            raise InvalidInput(f"{path}: '{name}': the model has no such input")
    for tensor in tensors:
        if tensor.name not in given:
            raise InvalidInput(f"{path}: has no array '{tensor.name}', an input of the model")
    values = {name: _as_datatype(path, name, array, by_name.get(name)) for name, array in given.items()}
    batched = {name for name in values if name not in by_name or by_name[name].shape[:1] == (-1,)}
    rows = min((len(values[name][1]) for name in batched), default=target.batch_size)
    if not values or rows < target.batch_size:
        raise InvalidInput(f"{path}: expected arrays of at least {target.batch_size} rows, got {rows}")
    for begin in range(0, rows - target.batch_size + 1, target.batch_size)[:_MOST_FILE_REQUESTS]:
        cut = slice(begin, begin + target.batch_size)
        yield {
            name: (datatype, array[cut] if name in batched else array)
            for name, (datatype, array) in values.items()
        }


def _as_datatype(
    path: Path, name: str, array: npt.NDArray[Any], tensor: Tensor | None
) -> tuple[str, npt.NDArray[Any]]:
    found = "BYTES" if array.dtype.kind in "SU" else _FIXED.get(array.dtype.name, array.dtype.name.upper())
    datatype = tensor.datatype if tensor is not None else found
    _check_datatype(name, datatype)
    if array.dtype.kind in "SU":
        strings = [item if isinstance(item, bytes) else str(item).encode() for item in array.ravel().tolist()]
        array = np.array(strings, dtype=np.object_).reshape(array.shape)
    elif (
        datatype != found and datatype != "BF16" and not np.can_cast(array.dtype, arrays.numpy_type(datatype))
    ):
        array = array.astype(arrays.numpy_type(datatype), casting="same_kind")
    if tensor is not None:
        pairs = zip(array.shape, tensor.shape, strict=False)
        if array.ndim != len(tensor.shape) or any(of not in (-1, size) for size, of in pairs):
            raise InvalidInput(f"{path}: '{name}': expected {list(tensor.shape)}, got {list(array.shape)}")
    if datatype == "BYTES":
        return datatype, array
    return datatype, np.ascontiguousarray(array, dtype=arrays.numpy_type(datatype))


def _of_json(path: Path) -> list[Inputs]:
    told = json.loads(path.read_bytes())
    requests = told if isinstance(told, list) else [told]
    if not requests:
        raise InvalidInput(f"{path}: expected at least one request")
    return [_of_request(path, request) for request in requests[:_MOST_FILE_REQUESTS]]


def _of_request(path: Path, request: object) -> Inputs:
    tensors = request.get("inputs") if isinstance(request, Mapping) else None
    if not isinstance(tensors, list) or not tensors:
        raise InvalidInput(f"{path}: expected V2 requests, each with `inputs`")
    made: Inputs = {}
    for tensor in tensors:
        if not isinstance(tensor, Mapping) or not {"name", "shape", "datatype", "data"} <= tensor.keys():
            raise InvalidInput(f"{path}: expected inputs of `name`, `shape`, `datatype` and `data`")
        name, datatype = str(tensor["name"]), str(tensor["datatype"])
        _check_datatype(name, datatype)
        try:
            array = arrays.from_python(tensor["data"], datatype).reshape(tensor["shape"])
        except (ValueError, TypeError) as error:
            raise InvalidInput(f"{path}: '{name}': {error}") from error
        made[name] = (datatype, array)
    return made

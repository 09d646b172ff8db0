"""Rows of a file as the inputs of a model."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from falaj import _core
from falaj.training.errors import TrainingError
from falaj.training.onnx_backend import load_onnx

if TYPE_CHECKING:
    import pyarrow

_NUMBERS = {"BOOL": "bool", "FP16": "float16", "FP32": "float32", "FP64": "float64"}
_INTEGERS = {f"{kind}{bits}": f"{kind}{bits}".lower() for kind in ("INT", "UINT") for bits in (8, 16, 32, 64)}


@dataclass(frozen=True)
class Signature:
    """What a model takes.

    Attributes:
        inputs: (name, datatype, shape) each; -1 is a variable size.
        columns: What the columns of an input are called in data, where its bundle tells.
    """

    inputs: tuple[tuple[str, str, tuple[int, ...]], ...]
    columns: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Rows:
    """Inputs by name, [rows, ...], and the labels [rows] if they were asked for."""

    inputs: dict[str, NDArray[Any]]
    labels: NDArray[Any] | None = None


def signature_of(model: Path, bundle: Mapping[str, Any] | None) -> Signature:
    """Read what a model takes, by the core.

    Args:
        bundle: Of its `bundle.json`.

    Raises:
        TrainingError: It does not load.
    """
    try:
        backend = load_onnx(model, optimization="disable")
    except _core.Error as error:
        raise TrainingError(f"{model}: {error}") from error
    inputs = tuple((name, datatype, tuple(shape)) for name, datatype, shape, *_ in backend.inputs)
    told = ((bundle or {}).get("model") or {}).get("inputs") or ()
    columns = {str(each["name"]): tuple(map(str, each.get("columns") or ())) for each in told}
    return Signature(inputs, {name: names for name, names in columns.items() if names})


def read_rows(path: Path, signature: Signature, label: str | None, *, labelled: bool = True) -> Rows:
    """Read rows of an .npz, whose arrays are called like the inputs, or of a .parquet or .csv.

    A table's columns go where the bundle tells; without one, a column goes to the input of its name, and the
    others, from left to right, to the one input that is a matrix. No value is NaN, and '' in texts.

    Args:
        label: Column, or array, of the labels; None for none.
        labelled: Whether it must be there; if it need not be, it is no input either.

    Raises:
        TrainingError: The file cannot be read, or does not have what the model takes.
    """
    if not path.is_file():
        raise TrainingError(f"{path}: no such file")
    try:
        if path.suffix == ".npz":
            return _of_arrays(path, signature, label if labelled else None)
        table = _table(path)
        if not labelled and label in table.column_names:
            table = table.drop_columns([label])
        return _of_table(path, table, signature, label if labelled else None)
    except TrainingError:
        raise
    except (OSError, ValueError, ArithmeticError) as error:  # pyarrow's are ValueErrors
        raise TrainingError(f"{path}: cannot be read: {error}") from error


def _of_arrays(path: Path, signature: Signature, label: str | None) -> Rows:
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    wanted = [name for name, _, _ in signature.inputs] + ([label] if label else [])
    missing = [name for name in wanted if name not in arrays]
    if missing:
        raise TrainingError(f"{path}: expected arrays {', '.join(wanted)}, got {', '.join(arrays)}")
    texts = {name for name, datatype, _ in signature.inputs if datatype == "BYTES"}
    inputs = {
        name: arrays[name].astype(object) if name in texts else arrays[name]
        for name, _, _ in signature.inputs
    }
    return Rows(inputs, None if label is None else arrays[label])


def _table(path: Path) -> "pyarrow.Table":
    try:
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError as error:
        raise TrainingError(f"{path}: needs pyarrow: pip install 'falaj[training]'") from error
    if path.suffix == ".parquet":
        return pyarrow.parquet.read_table(path)
    if path.suffix == ".csv":
        return pyarrow.csv.read_csv(path)
    raise TrainingError(f"{path}: expected a file that ends in .npz, .parquet or .csv")


def _of_table(path: Path, table: "pyarrow.Table", signature: Signature, label: str | None) -> Rows:
    names = list(table.column_names)
    if label is not None and label not in names:
        raise TrainingError(f"{path}: expected a column {label!r} of labels, got {', '.join(names)}")
    placed = _placed(path, [name for name in names if name != label], signature)
    inputs = {}
    for name, datatype, shape in signature.inputs:
        columns = [_column(path, table, column, datatype) for column in placed[name]]
        inputs[name] = columns[0] if len(shape) == 1 else np.stack(columns, axis=1)
    labels = None
    if label is not None:
        column = table.column(label)
        if column.null_count:
            raise TrainingError(f"{path}: column {label!r}: {column.null_count} rows have no label")
        labels = np.asarray(column.to_numpy())
    return Rows(inputs, labels)


def _placed(path: Path, names: list[str], signature: Signature) -> dict[str, tuple[str, ...]]:
    """The columns of each input."""
    placed = dict(signature.columns)
    matrices = []
    for name, _, shape in signature.inputs:
        if len(shape) > 2:
            raise TrainingError(
                f"{path}: input {name!r} {list(shape)}: expected an .npz, a table has no such rows"
            )
        if name in placed:
            continue
        if shape[1:] in ((), (1,)) and name in names:
            placed[name] = (name,)
        else:
            matrices.append((name, shape))
    if len(matrices) > 1:
        told = ", ".join(name for name, _ in matrices)
        raise TrainingError(f"{path}: which columns are of the inputs {told}? give an .npz with their arrays")
    for name, shape in matrices:
        taken = {column for columns in placed.values() for column in columns}
        rest = tuple(column for column in names if column not in taken)
        if len(rest) != (shape[1] if len(shape) == 2 else 1) and not (len(shape) == 2 and shape[1] == -1):
            raise TrainingError(
                f"{path}: input {name!r} {list(shape)}: got {len(rest)} columns for it: {_some(rest)}"
            )
        placed[name] = rest
    missing = sorted(_all(placed.values()) - set(names))
    if missing:
        raise TrainingError(f"{path}: expected columns {_some(missing)}, which are not there")
    return placed


def _column(path: Path, table: "pyarrow.Table", name: str, datatype: str) -> NDArray[Any]:
    column = table.column(name)
    if datatype == "BYTES":
        texts = ["" if value is None else str(value) for value in column.to_pylist()]
        return np.array(texts, dtype=object)
    try:
        values = np.asarray(column.to_numpy())
        if datatype in _INTEGERS:
            if column.null_count or values.dtype.kind not in "iub":
                raise TrainingError(
                    f"{path}: column {name!r}: expected integers, got {column.type} with nulls"
                )
            return values.astype(_INTEGERS[datatype])
        if values.dtype.kind not in "iufb":  # objects where a boolean or an integer is not there
            values = np.array(
                [np.nan if value is None else value for value in column.to_pylist()], np.float64
            )
        return values.astype(_NUMBERS[datatype])
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, TrainingError):
            raise
        raise TrainingError(f"{path}: column {name!r}: expected {datatype}, got {column.type}") from error


def _all(columns: Iterable[tuple[str, ...]]) -> set[str]:
    return {name for names in columns for name in names}


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:8]) + (f" and {len(listed) - 8} more" if len(listed) > 8 else "")

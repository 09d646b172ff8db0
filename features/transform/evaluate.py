"""A transform on NumPy."""

from ast import literal_eval
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.features.errors import DataError
from falaj.features.transform.kernel import BY_ONNX_RUNTIME, run_kernel
from falaj.features.transform.program import Constant, Operand, Program, Step

Column = NDArray[Any]
_DTYPES = {"BOOL": np.bool_, "FP32": np.float32, "FP64": np.float64, "BYTES": np.object_}
_OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "floor_divide": np.floor_divide,
    "negative": np.negative,
    "abs": np.abs,
    "sign": np.sign,
    "sqrt": np.sqrt,
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.rint,
    "isnan": np.isnan,
    "isinf": np.isinf,
    "equal": np.equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
    "logical_not": np.logical_not,
    "where": np.where,
}


def dtype_of(datatype: str) -> np.dtype[Any]:
    """Return NumPy's dtype of a datatype; of BYTES, object."""
    return np.dtype(_DTYPES.get(datatype, datatype.lower()))


def scalar(constant: Constant) -> Any:
    """Return a constant as an array of shape []."""
    text = constant.text
    value = float(text) if constant.datatype in ("FP32", "FP64") else literal_eval(text)
    # A bare str would become one of NumPy's own, which end before a NUL.
    return np.array(value, dtype=dtype_of(constant.datatype))


def evaluate(program: Program, columns: Mapping[str, Any], where: str) -> dict[str, Column]:
    """Return a program's outputs for columns of one length. Raises DataError where these do not fit it."""
    values = _inputs(program, columns, where)
    # What divides by zero, overflows or wraps around does so in serving too, and says nothing.
    with np.errstate(all="ignore"):
        for step in program.steps:
            values.append(_result(step, [_value(values, o) for o in step.operands]))
    return {name: values[index] for name, index in program.outputs}


def _value(values: list[Column], operand: Operand) -> Any:
    return scalar(operand) if isinstance(operand, Constant) else values[operand]


def _result(step: Step, operands: list[Any]) -> Column:
    if step.operation == "astype":
        return np.asarray(operands[0].astype(dtype_of(step.datatype)))
    if step.operation in BY_ONNX_RUNTIME:
        return run_kernel(BY_ONNX_RUNTIME[step.operation], operands[0])
    return np.asarray(_OPERATIONS[step.operation](*operands), dtype=dtype_of(step.datatype))


def _inputs(program: Program, columns: Mapping[str, Any], where: str) -> list[Column]:
    names = [name for name, _ in program.inputs]
    if sorted(columns) != sorted(names):
        got = ", ".join(columns) or "none"
        raise DataError(f"{where}: expected the columns {', '.join(names)}, got {got}")
    values = [_column(columns[name], of, f"{where}, input {name!r}") for name, of in program.inputs]
    for name, value in zip(names, values, strict=True):
        rows = len(values[0])
        if len(value) != rows:
            raise DataError(
                f"{where}, input {name!r}: expected {rows} rows, as {names[0]!r} has, got {len(value)}"
            )
    return values


def _column(given: Any, datatype: str, where: str) -> Column:
    array = np.asarray(given)
    if array.ndim != 1:
        raise DataError(f"{where}: expected shape [rows], got {list(array.shape)}")
    if datatype == "BYTES":
        array = array.astype(np.object_)
        for row, value in enumerate(array):
            if not isinstance(value, str):
                raise DataError(f"{where}: row {row}: expected a str, got {value!r}")
    elif array.dtype != dtype_of(datatype):
        raise DataError(f"{where}: expected {datatype}, got an array of {array.dtype}")
    return array

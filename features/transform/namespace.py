"""The namespace that a transform's function takes its operations from: those of the array API proved equal.

What is no operation of its own is made of others here, so that it is the same in NumPy and in ONNX.
"""

from typing import NoReturn

from falaj.features.datatypes import check_value
from falaj.features.errors import DefinitionError
from falaj.features.transform.array import Array, Scalar
from falaj.features.transform.program import (
    ANY,
    FLOATS,
    INTEGERS,
    NUMBERS,
    SIGNED,
    UNSIGNED,
    Constant,
    Operand,
    Step,
)
from falaj.features.transform.refused import REFUSED

Value = Array | Scalar
_ENOUGH = "expected a column among the operands, got none"


class Namespace:
    """Writes down the operations on one transform's columns. Used by one thread, while it is declared."""

    bool, float32, float64 = "BOOL", "FP32", "FP64"
    int8, int16, int32, int64 = SIGNED
    uint8, uint16, uint32, uint64 = UNSIGNED
    bytes = "BYTES"

    def __init__(self, where_declared: str, inputs: int) -> None:
        self.where_declared = where_declared
        self.steps: list[Step] = []
        self._inputs = inputs
        self._known: dict[Step, int] = {}

    # Arithmetic. Integers wrap around, as in C and NumPy.

    def add(self, x1: Value, x2: Value, /) -> Array:
        return self._same("add", NUMBERS, x1, x2)

    def subtract(self, x1: Value, x2: Value, /) -> Array:
        return self._same("subtract", NUMBERS, x1, x2)

    def multiply(self, x1: Value, x2: Value, /) -> Array:
        return self._same("multiply", NUMBERS, x1, x2)

    def divide(self, x1: Value, x2: Value, /) -> Array:
        return self._same("divide", FLOATS, x1, x2)

    def floor_divide(self, x1: Array, x2: int, /) -> Array:
        """Towards minus infinity, by a positive number that is written in the transform."""
        self._check_divisor("floor_divide", x2)
        return self._same("floor_divide", INTEGERS, x1, x2)

    def remainder(self, x1: Array, x2: int, /) -> Array:
        """From 0 to below the divisor, a positive number that is written in the transform."""
        self._check_divisor("remainder", x2)
        return self.subtract(x1, self.multiply(self.floor_divide(x1, x2), x2))

    def negative(self, x: Array, /) -> Array:
        return self._same("negative", (*FLOATS, *SIGNED), x)

    def positive(self, x: Array, /) -> Array:
        return x

    def abs(self, x: Array, /) -> Array:
        return self._same("abs", NUMBERS, x)

    def sign(self, x: Array, /) -> Array:
        return self._same("sign", NUMBERS, x)

    def square(self, x: Array, /) -> Array:
        return self.multiply(x, x)

    def reciprocal(self, x: Array, /) -> Array:
        return self.divide(1.0, x)

    def minimum(self, x1: Value, x2: Value, /) -> Array:
        """NaN where either is; the first where they are equal, as 0.0 and -0.0 are."""
        return self._lesser("minimum", x1, x2)

    def maximum(self, x1: Value, x2: Value, /) -> Array:
        """NaN where either is; the first where they are equal, as 0.0 and -0.0 are."""
        return self._lesser("maximum", x1, x2)

    def clip(self, x: Array, /, min: Value | None = None, max: Value | None = None) -> Array:
        low = x if min is None else self.maximum(x, min)
        return low if max is None else self.minimum(low, max)

    # Of floats.

    def sqrt(self, x: Array, /) -> Array:
        return self._same("sqrt", FLOATS, x)

    def floor(self, x: Array, /) -> Array:
        return self._same("floor", FLOATS, x)

    def ceil(self, x: Array, /) -> Array:
        return self._same("ceil", FLOATS, x)

    def round(self, x: Array, /) -> Array:
        """To the nearest integer, halves to the even one."""
        return self._same("round", FLOATS, x)

    def trunc(self, x: Array, /) -> Array:
        return self.where(self.less(x, 0.0), self.ceil(x), self.floor(x))

    def exp(self, x: Array, /) -> Array:
        """By ONNX Runtime, in training too."""
        return self._same("exp", ("FP32",), x)

    def tanh(self, x: Array, /) -> Array:
        """By ONNX Runtime, in training too."""
        return self._same("tanh", ("FP32",), x)

    def isnan(self, x: Array, /) -> Array:
        return self._test("isnan", FLOATS, x)

    def isinf(self, x: Array, /) -> Array:
        return self._test("isinf", FLOATS, x)

    def isfinite(self, x: Array, /) -> Array:
        return self.logical_not(self.logical_or(self.isnan(x), self.isinf(x)))

    # Comparisons and conditions.

    def equal(self, x1: Value, x2: Value, /) -> Array:
        return self._test("equal", ANY, x1, x2)

    def not_equal(self, x1: Value, x2: Value, /) -> Array:
        return self.logical_not(self.equal(x1, x2))

    def less(self, x1: Value, x2: Value, /) -> Array:
        return self._test("less", NUMBERS, x1, x2)

    def less_equal(self, x1: Value, x2: Value, /) -> Array:
        return self._test("less_equal", NUMBERS, x1, x2)

    def greater(self, x1: Value, x2: Value, /) -> Array:
        return self.less(x2, x1)

    def greater_equal(self, x1: Value, x2: Value, /) -> Array:
        return self.less_equal(x2, x1)

    def logical_and(self, x1: Value, x2: Value, /) -> Array:
        return self._test("logical_and", ("BOOL",), x1, x2)

    def logical_or(self, x1: Value, x2: Value, /) -> Array:
        return self._test("logical_or", ("BOOL",), x1, x2)

    def logical_xor(self, x1: Value, x2: Value, /) -> Array:
        return self._test("logical_xor", ("BOOL",), x1, x2)

    def logical_not(self, x: Array, /) -> Array:
        return self._test("logical_not", ("BOOL",), x)

    def where(self, condition: Array, x1: Value, x2: Value, /) -> Array:
        self._check(condition, "where: condition")
        if condition.dtype != "BOOL":
            raise DefinitionError(
                f"{self.where_declared}: xp.where: condition: expected BOOL, got {condition.dtype}"
            )
        operands, datatype = self._operands("where", ANY, (x1, x2))
        return self._step("where", (condition.index, *operands), datatype)

    def astype(self, x: Array, dtype: str, /, *, copy: object = True) -> Array:
        """Convert numbers and BOOL.

        An integer too wide wraps around. A float gives its whole part, or 0 where that does not fit.
        """
        self._check(x, "astype")
        if dtype not in ANY:
            raise DefinitionError(
                f"{self.where_declared}: xp.astype: expected one of {', '.join(ANY)}, got {dtype!r}"
            )
        if dtype == x.dtype:
            return x
        if "BYTES" in (x.dtype, dtype):
            raise DefinitionError(
                f"{self.where_declared}: xp.astype: text is not converted, from {x.dtype} to {dtype}"
            )
        if x.dtype in FLOATS and dtype in INTEGERS:
            bits = int(dtype.rpartition("INT")[2])
            low, high = (0.0, 2.0**bits) if dtype in UNSIGNED else (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1))
            whole = self.trunc(x)
            fits = self.logical_and(self.less_equal(low, whole), self.less(whole, high))
            x = self.where(fits, whole, 0.0)
        return self._step("astype", (x.index,), dtype)

    def refuse(self, name: str) -> NoReturn:
        """Raise DefinitionError for an operation that is not offered."""
        why = REFUSED.get(name, f"it is not among those proved equal: {', '.join(offered())}")
        raise DefinitionError(f"{self.where_declared}: xp.{name}: {why}")

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        self.refuse(name)

    def _lesser(self, name: str, x1: Value, x2: Value) -> Array:
        # The Min and Max of ONNX Runtime, and NumPy's, differ in which zero they choose.
        if not isinstance(x1, Array):
            x1, x2 = x2, x1
        self._operands(name, NUMBERS, (x1, x2))
        first = self.less_equal(x1, x2) if name == "minimum" else self.less_equal(x2, x1)
        if isinstance(x1, Array) and x1.dtype in FLOATS:
            first = self.logical_or(first, self.isnan(x1))
        return self.where(first, x1, x2)

    def _same(self, name: str, datatypes: tuple[str, ...], *values: Value) -> Array:
        operands, datatype = self._operands(name, datatypes, values)
        return self._step(name, operands, datatype)

    def _test(self, name: str, datatypes: tuple[str, ...], *values: Value) -> Array:
        return self._step(name, self._operands(name, datatypes, values)[0], "BOOL")

    def _operands(
        self, name: str, datatypes: tuple[str, ...], values: tuple[Value, ...]
    ) -> tuple[tuple[Operand, ...], str]:
        columns = [value for value in values if isinstance(value, Array)]
        at = f"{self.where_declared}: xp.{name}"
        if not columns:
            raise DefinitionError(f"{at}: {_ENOUGH}")
        datatype = columns[0].dtype
        for column in columns:
            self._check(column, name)
            if column.dtype != datatype:
                raise DefinitionError(
                    f"{at}: expected one datatype, got {datatype} and {column.dtype}; use xp.astype"
                )
        if datatype not in datatypes:
            raise DefinitionError(f"{at}: expected {', '.join(datatypes)}, got {datatype}")
        return tuple(
            value.index if isinstance(value, Array) else _constant(value, datatype, at) for value in values
        ), datatype

    def _step(self, name: str, operands: tuple[Operand, ...], datatype: str) -> Array:
        step = Step(name, operands, datatype)
        if step not in self._known:
            self.steps.append(step)
            self._known[step] = self._inputs + len(self.steps) - 1
        return Array(self._known[step], datatype, self)

    def _check(self, value: object, name: str) -> None:
        if not isinstance(value, Array):
            raise DefinitionError(f"{self.where_declared}: xp.{name}: expected a column, got {value!r}")
        if value.xp is not self:
            raise DefinitionError(
                f"{self.where_declared}: xp.{name}: got a column of {value.xp.where_declared}"
            )

    def _check_divisor(self, name: str, value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            shown = f"{value.dtype} column" if isinstance(value, Array) else repr(value)
            raise DefinitionError(
                f"{self.where_declared}: xp.{name}: expected a positive int as divisor, got {shown}; ONNX "
                "Runtime does not survive a division of integers by zero. Of floats: xp.floor(x / y)"
            )


def offered() -> list[str]:
    """Return the names of the operations that there are."""
    return sorted(
        name for name, of in vars(Namespace).items() if callable(of) and name[0] != "_" and name != "refuse"
    )


def _constant(value: object, datatype: str, at: str) -> Constant:
    checked = check_value(value, datatype, at)
    if datatype == "FP32":
        import numpy as np

        checked = float(np.float32(checked))
    return Constant(repr(checked), datatype)

"""The arrays that a transform's function is called with, once, to write down what it does."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from falaj.features.errors import DefinitionError

if TYPE_CHECKING:
    from falaj.features.transform.namespace import Namespace

Scalar = bool | int | float | str


@dataclass(frozen=True, eq=False)
class Array:
    """A column of the batch; of its values nothing is known yet."""

    index: int
    dtype: str
    xp: "Namespace"

    def __array_namespace__(self, api_version: str | None = None) -> "Namespace":
        return self.xp

    def __add__(self, other: "Array | Scalar") -> "Array":
        return self.xp.add(self, other)

    def __radd__(self, other: Scalar) -> "Array":
        return self.xp.add(other, self)

    def __sub__(self, other: "Array | Scalar") -> "Array":
        return self.xp.subtract(self, other)

    def __rsub__(self, other: Scalar) -> "Array":
        return self.xp.subtract(other, self)

    def __mul__(self, other: "Array | Scalar") -> "Array":
        return self.xp.multiply(self, other)

    def __rmul__(self, other: Scalar) -> "Array":  # type: ignore[misc]  # str * int
        return self.xp.multiply(other, self)

    def __truediv__(self, other: "Array | Scalar") -> "Array":
        return self.xp.divide(self, other)

    def __rtruediv__(self, other: Scalar) -> "Array":
        return self.xp.divide(other, self)

    def __floordiv__(self, other: int) -> "Array":
        return self.xp.floor_divide(self, other)

    def __mod__(self, other: int) -> "Array":
        return self.xp.remainder(self, other)

    def __pow__(self, other: object) -> NoReturn:
        self.xp.refuse("pow")

    def __rpow__(self, other: object) -> NoReturn:
        self.xp.refuse("pow")

    def __matmul__(self, other: object) -> NoReturn:
        self.xp.refuse("matmul")

    def __neg__(self) -> "Array":
        return self.xp.negative(self)

    def __pos__(self) -> "Array":
        return self

    def __abs__(self) -> "Array":
        return self.xp.abs(self)

    def __invert__(self) -> "Array":
        return self.xp.logical_not(self)

    def __and__(self, other: "Array | bool") -> "Array":
        return self.xp.logical_and(self, other)

    def __or__(self, other: "Array | bool") -> "Array":
        return self.xp.logical_or(self, other)

    def __xor__(self, other: "Array | bool") -> "Array":
        return self.xp.logical_xor(self, other)

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __eq__(self, other: "Array | Scalar") -> "Array":  # type: ignore[override]
        return self.xp.equal(self, other)

    def __ne__(self, other: "Array | Scalar") -> "Array":  # type: ignore[override]
        return self.xp.not_equal(self, other)

    def __lt__(self, other: "Array | Scalar") -> "Array":
        return self.xp.less(self, other)

    def __le__(self, other: "Array | Scalar") -> "Array":
        return self.xp.less_equal(self, other)

    def __gt__(self, other: "Array | Scalar") -> "Array":
        return self.xp.greater(self, other)

    def __ge__(self, other: "Array | Scalar") -> "Array":
        return self.xp.greater_equal(self, other)

    def __hash__(self) -> int:
        return id(self)

    def __bool__(self) -> bool:
        self._unknown("a condition of Python has one answer for the whole batch; use xp.where")

    def __len__(self) -> int:
        self._unknown("how many rows a batch has is not known")

    def __iter__(self) -> Any:
        self._unknown("a transform cannot walk through the rows")

    def __getitem__(self, key: object) -> Any:
        self._unknown("a transform cannot pick rows")

    def __setitem__(self, key: object, value: object) -> None:
        self._unknown("a column is not changed; use xp.where")

    def __float__(self) -> float:
        self._unknown("a column is no number; use xp.astype")

    def __int__(self) -> int:
        self._unknown("a column is no number; use xp.astype")

    def __array__(self, *_: object, **__: object) -> Any:
        self._unknown("NumPy's own functions are not written down; use those of xp")

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        self._unknown(f"an array has no .{name} here; use the functions of xp")

    def _unknown(self, why: str) -> NoReturn:
        raise DefinitionError(f"{self.xp.where_declared}: {why}")

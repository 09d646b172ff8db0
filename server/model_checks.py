"""Checks of single values of a model's configuration. Each raises ConfigError that names `key`, or passes."""

import math
import re
from collections.abc import Iterable

from falaj.server.errors import ConfigError

# The core holds counts in 32 bits, queue bounds and sizes in 64, and times in nanoseconds in 64.
COUNT_MAX = 2**31 - 1
INT64_MAX = 2**63 - 1
_MS_MAX = 1e12


def require_int(key: str, value: int, low: int, high: int = COUNT_MAX) -> None:
    if not low <= value <= high:
        raise ConfigError(f"expected a whole number of {low} to {high}, got {value}", key=key)


def require_ms(key: str, value: float | None) -> None:
    if value is not None and not 0 < value <= _MS_MAX:
        raise ConfigError(f"expected milliseconds above 0, at most {_MS_MAX:g}, got {value}", key=key)


def require_name(name: str) -> None:
    if not name:
        raise ConfigError("expected a tensor's name, got ''", key="name")


def require_shape(shape: tuple[int, ...] | None) -> None:
    for index, size in enumerate(shape or ()):
        if not -1 <= size <= INT64_MAX:
            raise ConfigError(f"expected a size, or -1 for a variable one, got {size}", key=f"shape[{index}]")


def require_axis(key: str, axis: int | None, shape: tuple[int, ...] | None) -> None:
    if axis is None:
        return
    require_int(key, axis, 1)
    if shape is not None and (axis >= len(shape) or shape[axis] != -1):
        raise ConfigError(f"expected a variable axis (-1) of shape {[*shape]}, got {axis}", key=key)


def require_pad_value(value: float, datatype: str | None) -> None:
    if datatype is None or datatype.startswith(("FP", "BF", "BYTES")):
        return
    whole = re.fullmatch(r"(U?)INT(\d+)", datatype)
    low, high = 0, 1
    if whole:
        bits = int(whole[2])
        low, high = (0, 2**bits - 1) if whole[1] else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    if not math.isfinite(value) or value != int(value) or not low <= value <= high:
        wanted = f"a whole number of {low} to {high} for {datatype}"
        raise ConfigError(f"expected {wanted}, got {value}", key="pad_value")


def require_unique(key: str, values: Iterable[object]) -> None:
    seen: set[object] = set()
    for index, value in enumerate(values):
        if value in seen:
            raise ConfigError(f"'{value}' is there twice, expected each once", key=f"{key}[{index}]")
        seen.add(value)


def require_file_name(key: str, name: str | None) -> None:
    """A folder in the name would reach files outside of the model."""
    if name is not None and (name in ("", ".", "..") or re.search(r"[/\\\0]", name)):
        raise ConfigError(f"expected the name of a file in the version folder, got {name!r}", key=key)

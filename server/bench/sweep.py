"""Values of a sweep, as a command line tells them."""

import math

from falaj._core import InvalidInput

_MOST = 1000


def sweep(text: str, what: str, *, whole: bool = False) -> list[float]:
    """Return the values that a text tells of.

    `1:64:2x` is from 1 to 64, each two times the last; `1000:20000:2000` each 2000 more; `1:4` each one more;
    `1,4,16` a list of values and of such.

    Args:
        what: The option, for errors.
        whole: Whether the values have to be whole numbers; those of a factor are then rounded down.

    Raises:
        InvalidInput: The text is none of these, has a value below 1 (whole) or not above 0, or tells of more
            than 1000.
    """
    values: list[float] = []
    for part in text.split(","):
        values += _part(part.strip(), what, whole)
        if len(values) > _MOST:
            raise InvalidInput(f"{what}: expected at most {_MOST} values, got '{text}'")
    return list(dict.fromkeys(values))


def _part(text: str, what: str, whole: bool) -> list[float]:
    pieces = text.split(":")
    if len(pieces) > 3:
        raise InvalidInput(f"{what}: expected FROM:TO:STEP, FROM:TO:2x or values with commas, got '{text}'")
    first = _number(pieces[0], what, whole)
    if len(pieces) == 1:
        return [first]
    last = _number(pieces[1], what, whole)
    if last < first:
        raise InvalidInput(f"{what}: expected FROM up to TO, got '{text}'")
    step = pieces[2] if len(pieces) == 3 else "1"
    values = [first]
    if step.endswith("x"):
        factor = _number(step[:-1], what, False)
        if factor <= 1:
            raise InvalidInput(f"{what}: expected a factor above 1, got '{step}'")
        exact = first
        while (exact := exact * factor) <= last * (1 + 1e-9) and len(values) <= _MOST:
            values.append(float(math.floor(exact)) if whole else exact)
        return values
    gap = _number(step, what, whole)
    while (following := first + gap * len(values)) <= last * (1 + 1e-9) and len(values) <= _MOST:
        values.append(following)
    return values


def _number(text: str, what: str, whole: bool) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value <= 0 or (whole and value != int(value)):
        kind = "a whole number of at least 1" if whole else "a number above 0"
        raise InvalidInput(f"{what}: expected {kind}, got '{text}'")
    return value

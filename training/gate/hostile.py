"""Rows that a model meets only when something is wrong: made of real rows, of which little is changed."""

import unicodedata
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.datatypes import dtype_of
from falaj.training.gate.rows import Edit, Indices, RowSet, concatenated, count, flat, take
from falaj.training.original import Arrays, ModelInput, Original

_BASES = 4  # real rows that a column is changed in, for each value
MOST_COLUMNS = 64  # of an input that are changed; more are a random choice
_COMBINED = 256  # rows with several hostile values
_CHANGED = 0.3  # of a combined row's columns
_LONG = 20_000  # characters
_VARIED = 16  # known texts of an input of which variants are made
_EXTREME = frozenset({"infinite", "float16 limits", "float32 limits", "float64 limits"})
_FAR = _EXTREME | {"large integers"}
UNSEEN = ("never seen before", "nan", "None", "\u05d0\u65e5\U0001f600", "0", "a\nb\tc")


def hostile_sets(
    original: Original, rows: Arrays, rng: np.random.Generator, *, compares: bool
) -> list[RowSet]:
    """Return real rows with one hostile value each, by its kind, and rows in which all is missing.

    Args:
        compares: Whether the model does nothing with numbers but compare them, as trees do. If it calculates,
            rows at the ends of float32's range are told and do not bind: there a calculation in float32
            overflows where the same one in float64 does not.
    """
    edits: dict[str, list[Edit]] = {}
    for given in original.inputs:
        for kind, values in _values(original, given, rows).items():
            if values.size:
                edits.setdefault(kind, []).append(_edit(given, rows, values, rng))
    sets = [_set_of(kind, some, rows, compares or kind not in _EXTREME) for kind, some in edits.items()]
    return [*sets, *_missing_sets(original, rows, rng)]


def _values(original: Original, given: ModelInput, rows: Arrays) -> dict[str, NDArray[Any]]:
    """Hostile values of an input, by kind."""
    if given.datatype == "BYTES":
        known = original.categories.get(given.name, ())
        return _texts(known or _common(rows[given.name]), bool(known))
    if given.datatype in ("FP32", "FP64", "FP16"):
        return _floats(dtype_of(given.datatype))
    if given.datatype == "BOOL":
        return {"both truth values": np.array([False, True])}
    return _integers(rows[given.name])


def _floats(dtype: np.dtype[Any]) -> dict[str, NDArray[Any]]:
    info = np.finfo(dtype)
    tiny, smallest = float(info.tiny), float(info.smallest_subnormal)
    whole = float(2 ** (info.nmant + 1))  # above it not every integer is there
    kinds = {
        "missing": [np.nan],
        "infinite": [np.inf, -np.inf],
        f"{dtype.name} limits": [float(info.max), float(info.min)],
        "zeros": [0.0, -0.0],
        "denormals": [smallest, -smallest, tiny / 2, -tiny / 2, tiny],
        "large integers": [whole, whole + 2, -whole - 2],
    }
    if dtype.name == "float16":
        kinds["large integers"] = [whole, -whole]
    if dtype.name == "float64":
        kinds["large integers"] += [2.0**24 + 1]
    return {kind: np.array(values, dtype) for kind, values in kinds.items()}


def _integers(real: NDArray[Any]) -> dict[str, NDArray[Any]]:
    info = np.iinfo(real.dtype)
    wanted = [0, 1, -1, 2**24 + 1, -(2**24) - 1, 2**31, 2**53 + 1, -(2**53) - 1, int(info.min), int(info.max)]
    fitting = sorted({value for value in wanted if info.min <= value <= info.max})
    return {"large integers": np.array(fitting, real.dtype)}


def _common(real: NDArray[Any]) -> tuple[str, ...]:
    """The most frequent texts of an input whose values are no categories."""
    texts, counts = np.unique(real.ravel().astype(str), return_counts=True)
    return tuple(texts[np.argsort(-counts, kind="stable")][:_VARIED].tolist())


def _texts(known: Sequence[str], are_categories: bool) -> dict[str, NDArray[Any]]:
    seen = set(known)
    variants = sorted({made for text in known[:_VARIED] for made in _variants(text)} - seen - {""})
    longest = max(known, key=len, default="") or "x"
    repeated = longest * (_LONG // len(longest) + 1)
    kinds = {
        "empty texts": [""],
        "unseen texts": [text for text in UNSEEN if text not in seen],
        "variants of known texts": variants,
        "long texts": [repeated[:_LONG], f"{longest} {longest}"],
    }
    if are_categories:
        kinds["known categories"] = list(known)
    return {kind: _objects(values) for kind, values in kinds.items() if values}


def _variants(text: str) -> Iterator[str]:
    """A text with other case, spaces, or Unicode normal form."""
    yield from (text.upper(), text.lower(), text.title(), text.swapcase())
    yield from (f" {text}", f"{text} ", f"\t{text}", f"{text}\n", text.replace(" ", "  "), text[:-1])
    yield from (unicodedata.normalize(form, text) for form in ("NFC", "NFD", "NFKC"))
    # An accent on the first letter, in both forms that it has.
    yield from (unicodedata.normalize(form, f"{text[:1]}\u0301{text[1:]}") for form in ("NFC", "NFD"))


def _objects(values: Sequence[str]) -> NDArray[Any]:
    array = np.empty(len(values), object)
    array[:] = list(values)
    return array


def chosen(width: int, most: int, rng: np.random.Generator) -> Indices:
    """Return at most so many of an input's columns, all where they are no more."""
    return np.arange(width) if width <= most else np.sort(rng.choice(width, most, replace=False))


def _edit(given: ModelInput, rows: Arrays, values: NDArray[Any], rng: np.random.Generator) -> Edit:
    """Each value in each column, in a few real rows."""
    columns = chosen(flat(rows[given.name]).shape[1], MOST_COLUMNS, rng)
    bases = _BASES if values.size <= 32 and values.size * columns.size < 5000 else 1
    column = np.repeat(columns, values.size * bases)
    value = np.tile(np.repeat(values, bases), columns.size)
    return Edit(given.name, rng.integers(0, count(rows), column.size), column, value)


def _set_of(kind: str, edits: Sequence[Edit], rows: Arrays, binding: bool) -> RowSet:
    """Rows with one value in one column are a group."""
    groups, first = [], 0
    for edit in edits:
        new = np.ones(edit.column.size, bool)
        new[1:] = (edit.column[1:] != edit.column[:-1]) | (edit.value[1:] != edit.value[:-1])
        groups.append(first + np.cumsum(new))
        first = int(groups[-1][-1])
    made = concatenated([edit.rows(rows) for edit in edits])
    return RowSet(kind, made, np.concatenate(groups), binding=binding, far=kind in _FAR)


def _missing_sets(original: Original, rows: Arrays, rng: np.random.Generator) -> list[RowSet]:
    """Rows in which all that can be missing is."""
    made = take(rows, rng.integers(0, count(rows), 2))
    changed = False
    for given in original.inputs:
        if given.datatype in ("FP16", "FP32", "FP64", "BYTES"):
            made[given.name][:] = "" if given.datatype == "BYTES" else np.nan
            changed = True
    return [RowSet("all missing", made, np.zeros(2, np.int64))] if changed else []


def combined_sets(
    original: Original, rows: Arrays, rng: np.random.Generator, without: Collection[str]
) -> list[RowSet]:
    """Return rows with several hostile values at once, with and without missing ones.

    Args:
        without: Kinds of values that the original refuses: of rows with several, it would refuse nearly all.
    """
    left_out = {*_EXTREME, *without}
    sets = []
    for kind, some in (("combinations", {*left_out, "missing"}), ("combinations with missing", left_out)):
        made = take(rows, rng.integers(0, count(rows), _COMBINED))
        for given in original.inputs:
            pools = [values for of, values in _values(original, given, rows).items() if of not in some]
            if pools:
                _scatter(flat(made[given.name]), np.concatenate(pools), rng)
        sets.append(RowSet(kind, made, np.arange(_COMBINED), far=True))
    return sets[:1] if "missing" in left_out else sets


def _scatter(array: NDArray[Any], pool: NDArray[Any], rng: np.random.Generator) -> None:
    """Put values of a pool at random places, none of them very long."""
    short = np.array([not isinstance(value, str) or len(value) < 1000 for value in pool.tolist()])
    change = rng.random(array.shape) < max(_CHANGED, 1 / (2 * array.shape[1]))
    array[change] = rng.choice(pool[short], int(change.sum()))

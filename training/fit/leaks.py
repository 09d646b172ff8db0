"""What a training set must not have: columns that tell the target, and rows said to be known too early.

A point-in-time export takes only what was known, by the times that views name. These checks are for what it
has to be told: columns of the spine that are not known when the model is asked, and views of wrong times.
"""

import itertools
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.errors import TrainingError
from falaj.training.original import Task
from falaj.training.ranks import ranks, roc_area

# A column that tells the target so well by itself has seen it: of iris, which is easy, the best has 0.982.
TOO_GOOD = 0.99
_ROWS_OF_A_CATEGORY = 20  # on average; rates of fewer rows tell chance
# Rows of a view that may have a time behind the one at which they were known: clocks differ.
_MOST_ROWS_AHEAD = 0.001


@dataclass(frozen=True)
class Leak:
    """A reason to think that a column, or a view, has what is not known when the model is asked."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def refuse_leaks(leaks: Collection[Leak], allowed: Collection[str]) -> None:
    """Raise TrainingError that lists the leaks, but for those that are allowed by where they are."""
    found = [leak for leak in leaks if leak.where not in allowed]
    if found:
        reasons = "\n".join(f"  {leak}" for leak in found)
        names = ", ".join(f'"{leak.where}"' for leak in found)
        raise TrainingError(
            f"the training set has what is not known when the model is asked:\n{reasons}\n"
            f"Where it is known, say so: [data] allow_leaks = [{names}]"
        )


def telling_columns(
    numbers: Mapping[str, NDArray[np.float32]],
    categories: Mapping[str, NDArray[Any]],
    target: NDArray[Any],
    task: Task,
) -> list[Leak]:
    """Return the columns that tell the target nearly by themselves.

    Of a number that is how well its order tells every two classes apart (the area under the ROC curve, either
    way round) or the target's order (Spearman's correlation); of a category, its values' rates of each class.

    Args:
        numbers: [rows]; NaN where there is no value, which is a value of its own here.
        categories: [rows] of str.
    """
    leaks, targets, pairs = [], _targets(target, task), _pairs(target, task)
    for name, column in numbers.items():
        # Whether there is a value may tell it, too.
        for what, values in (("its values", column), ("where it has none", np.isnan(column))):
            plain = np.nan_to_num(values.astype(np.float64), nan=-np.inf)
            share = min(_telling(ranks(plain[rows]), of, task) for of, rows in pairs)
            if share >= TOO_GOOD:
                leaks.append(Leak(name, f"{what} tell the target by themselves ({_how(task)} {share:.3f})"))
                break
    for name, texts in categories.items():
        known, codes = np.unique(texts.astype(str), return_inverse=True)
        if len(texts) < len(known) * _ROWS_OF_A_CATEGORY:
            continue
        share = min(_telling(ranks(_rates(codes, of)), of, task) for of in targets)
        if share >= TOO_GOOD:
            leaks.append(Leak(name, f"its values tell the target by themselves ({_how(task)} {share:.3f})"))
    return leaks


def early_views(manifest: Path) -> list[Leak]:
    """Return the views of a feature export whose rows have times behind those at which they were known.

    What a row says of a later time cannot have been known, unless it is a plan.

    Raises:
        TrainingError: The manifest cannot be read.
    """
    import duckdb

    try:
        views = json.loads(manifest.read_bytes())["views"]
    except (OSError, ValueError, KeyError) as error:
        raise TrainingError(f"{manifest}: is no manifest of an export: {error!r}") from error
    leaks = []
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for view in views:
            if view["ahead"] > view["history_rows"] * _MOST_ROWS_AHEAD:
                share = f"{view['ahead'] / view['history_rows']:.1%}"
                leaks.append(
                    Leak(_name(view["meaning"]), f"{share} of its rows are known before their event")
                )
            files = [file["path"] for file in view["files"]]
            # Files that have moved since cannot be looked at.
            there = files and all(Path(file).exists() for file in files)
            if there and view["meaning"].get("sql") is None:
                leaks += _early(connection, view["meaning"], files)
    return leaks


def _early(connection: Any, view: Mapping[str, Any], files: list[str]) -> list[Leak]:
    from falaj.features.offline.sql import literal, quoted

    read = "read_parquet" if files[0].endswith(".parquet") else "read_csv"
    source = f"{read}([{', '.join(literal(file) for file in files)}])"
    types = {name: str(kind) for name, kind, *_ in connection.execute(f"DESCRIBE FROM {source}").fetchall()}
    known = view["known_time"] or view["event_time"]
    times = [name for name, kind in types.items() if kind == "TIMESTAMP WITH TIME ZONE"]
    if known not in times:
        return []
    said = f"{quoted(known)} + to_microseconds({int(view['source_delay_us'])})"
    leaks = []
    for name in times:
        if name in (view["event_time"], view["known_time"]):
            continue
        sql = f"SELECT count(*), count(*) FILTER ({quoted(name)} > {said}) FROM {source}"
        rows, ahead = connection.execute(sql).fetchone()
        if rows and ahead / rows > _MOST_ROWS_AHEAD:
            share = f"in {ahead / rows:.1%} of its rows"
            what = f"{share} '{name}' is after '{known}', when they are said to be known"
            leaks.append(Leak(_name(view), what))
    return leaks


def _name(view: Mapping[str, Any]) -> str:
    return f"view {view['name']}@{view['version']}"


def _how(task: Task) -> str:
    return "rank correlation" if task == "regression" else "AUC"


def _targets(target: NDArray[Any], task: Task) -> list[NDArray[np.float64]]:
    """What is told apart: the values of a regression, or whether a row is of a class, for each class."""
    if task == "regression":
        return [target.astype(np.float64)]
    classes = np.unique(target)
    return [(target == each).astype(np.float64) for each in (classes[1:] if len(classes) == 2 else classes)]


def _pairs(target: NDArray[Any], task: Task) -> list[tuple[NDArray[np.float64], NDArray[np.bool_]]]:
    """Every two classes: which of their rows are of the second, and which rows are of them."""
    if task == "regression":
        return [(target.astype(np.float64), np.ones(len(target), bool))]
    found = []
    for one, other in itertools.combinations(np.unique(target), 2):
        rows = (target == one) | (target == other)
        found.append(((target[rows] == other).astype(np.float64), rows))
    return found


def _telling(of_column: NDArray[np.float64], target: NDArray[np.float64], task: Task) -> float:
    """From 0.5 (or 0, of a rank correlation): nothing, to 1: all. `of_column`: its ranks."""
    if np.all(of_column == of_column[:1]) or np.all(target == target[:1]):
        return 0.0
    if task == "regression":
        return abs(float(np.corrcoef(of_column, ranks(target))[0, 1]))
    area = roc_area(of_column, target == 1)
    return max(area, 1 - area)


def _rates(codes: NDArray[np.int64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each row's mean target among the rows of its category."""
    sums = np.bincount(codes, weights=target)
    return np.asarray((sums / np.bincount(codes))[codes])

"""Which rows a model is fitted on, which choose among models, and which tell how good it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from falaj.training.errors import TrainingError
from falaj.training.fit.spec import SplitSpec
from falaj.training.fit.table import Table

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")
_TRAIN, _VALIDATION, _TEST, _NONE = 0, 1, 2, -1


@dataclass(frozen=True)
class Split:
    """Of one table.

    Attributes:
        kind: What it was made by.
        parts: INT8 [rows]: places in PARTS, or -1 of rows that are in none.
        borders: Of a split by time, the first times of validation and test, ISO 8601 in UTC.
    """

    kind: Literal["time", "group", "random"]
    parts: NDArray[np.int8]
    borders: Mapping[str, str]

    def rows(self, part: Part) -> NDArray[np.int64]:
        """Return the places of a part's rows, ascending."""
        return np.flatnonzero(self.parts == PARTS.index(part))

    @property
    def sizes(self) -> dict[str, int]:
        """Rows of each part, and those that are in none."""
        sizes: dict[str, int] = {part: int((self.parts == i).sum()) for i, part in enumerate(PARTS)}
        return {**sizes, "left_out": int((self.parts == _NONE).sum())}


def split_table(table: Table, spec: SplitSpec, seed: int) -> Split:
    """Divide rows.

    By time, rows of one time stay together, and where there are groups too, earlier rows of a group that has
    later ones in another part are in none: neither times nor groups come apart. By group, groups come whole
    into parts, in an order drawn from the seed. At random, each class is divided by the same shares.

    Raises:
        TrainingError: The table has no time or group for it, a part is empty, or a class is in no training
            row.
    """
    kind = spec.kind
    if kind == "auto":
        kind = "time" if table.time is not None else "group" if table.group is not None else "random"
    if kind != "time" and (spec.validation_from is not None or spec.test_from is not None):
        raise TrainingError(f"split: validation_from and test_from are of a split by time, this is by {kind}")
    borders: dict[str, str] = {}
    if kind == "time":
        if table.time is None:
            raise TrainingError("split: by time, and the data have none; say data.time")
        first = _borders(table.time, spec)
        parts = np.searchsorted(np.array(first), table.time, side="right").astype(np.int8)
        borders = {"validation_from": _iso(first[0]), "test_from": _iso(first[1])}
        if table.group is not None:
            parts = _whole_groups(parts, table.group)
    elif kind == "group":
        if table.group is None:
            raise TrainingError("split: by group, and the data have none; say data.group")
        parts = _by_group(table.group, spec, seed)
    else:
        parts = _at_random(table, spec, seed)
    split = Split(kind, parts, borders)
    _check(table, split)
    return split


def _check(table: Table, split: Split) -> None:
    for part in PARTS:
        if not len(split.rows(part)):
            told = ", ".join(f"{name} {size}" for name, size in split.sizes.items())
            raise TrainingError(f"split by {split.kind}: no row is left for {part}: {told}")
    if table.classes:
        seen = np.unique(table.target[split.rows("train")])
        for place, name in enumerate(table.classes):
            if place not in seen:
                raise TrainingError(f"split by {split.kind}: no training row is of the class {name!r}")


def _borders(time: NDArray[np.int64], spec: SplitSpec) -> tuple[int, int]:
    """The first times of validation and of test."""
    times, counts = np.unique(time, return_counts=True)
    before = np.cumsum(counts) - counts  # rows before each time
    validation, test = _micros(spec.validation_from, "validation_from"), _micros(spec.test_from, "test_from")
    if len(times) < len(PARTS):
        raise TrainingError(f"split by time: the rows have {len(times)} times, and there are three parts")
    if test is None:
        test = _nearest(times[2:], before[2:], (1 - spec.test) * len(time))
    if validation is None:
        share = spec.validation + spec.test if spec.test_from is None else spec.validation
        rows = len(time) if spec.test_from is None else int((time < test).sum())
        earlier = slice(1, max(int(np.searchsorted(times, test)), 2))
        validation = _nearest(times[earlier], before[earlier], (1 - share) * rows)
    if validation >= test:
        raise TrainingError(
            f"split by time: expected validation before test, got {_iso(validation)} and {_iso(test)}"
        )
    return validation, test


def _nearest(times: NDArray[np.int64], before: NDArray[np.int64], wanted: float) -> int:
    """The time before which there are nearest to as many rows as wanted."""
    return int(times[np.argmin(np.abs(before - wanted))])


def _micros(text: str | None, name: str) -> int | None:
    if text is None:
        return None
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise TrainingError(f"split.{name}: {error}") from error
    if when.tzinfo is None:
        raise TrainingError(f"split.{name}: expected a time with its offset, got {text}")
    since = when.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _iso(micros: int) -> str:
    return str(np.datetime64(micros, "us")) + "Z"


def _whole_groups(parts: NDArray[np.int8], group: NDArray[Any]) -> NDArray[np.int8]:
    """Leave out rows whose group has rows in a later part."""
    _, codes = np.unique(group.astype(str), return_inverse=True)
    last = np.full(codes.max() + 1, _TRAIN, np.int8)
    np.maximum.at(last, codes, parts)
    return np.where(last[codes] == parts, parts, np.int8(_NONE)).astype(np.int8)


def _by_group(group: NDArray[Any], spec: SplitSpec, seed: int) -> NDArray[np.int8]:
    _, codes, counts = np.unique(group.astype(str), return_inverse=True, return_counts=True)
    order = np.random.default_rng([seed, 1]).permutation(len(counts))
    middle = np.cumsum(counts[order]) - counts[order] / 2  # of each group, in rows
    of_group = np.empty(len(counts), np.int8)
    of_group[order] = _by_share(middle / counts.sum(), spec)
    return of_group[codes]


def _at_random(table: Table, spec: SplitSpec, seed: int) -> NDArray[np.int8]:
    parts = np.empty(len(table), np.int8)
    strata = table.target if table.classes else np.zeros(len(table), np.int64)
    random = np.random.default_rng([seed, 2])
    for stratum in np.unique(strata):
        rows = random.permutation(np.flatnonzero(strata == stratum))
        parts[rows] = _by_share((np.arange(len(rows)) + 0.5) / len(rows), spec)
    return parts


def _by_share(share: NDArray[np.float64], spec: SplitSpec) -> NDArray[np.int8]:
    """Places in PARTS for what lies at a share of all rows, test first, then validation."""
    return np.where(
        share < spec.test, _TEST, np.where(share < spec.test + spec.validation, _VALIDATION, _TRAIN)
    ).astype(np.int8)

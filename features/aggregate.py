"""Aggregates of an entity's events over sliding windows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType

from falaj.features.column import Column, check_demands
from falaj.features.datatypes import DUCKDB_TYPES
from falaj.features.entity import check_name
from falaj.features.errors import DefinitionError

SHORTEST, LONGEST = timedelta(minutes=5), timedelta(days=90)
# The longest window that tiles of a width serve.
TILES: Mapping[timedelta, timedelta] = MappingProxyType(
    {
        timedelta(minutes=30): timedelta(seconds=5),
        timedelta(hours=6): timedelta(minutes=1),
        timedelta(hours=48): timedelta(minutes=10),
        timedelta(days=15): timedelta(hours=1),
        timedelta(days=60): timedelta(hours=6),
        LONGEST: timedelta(days=1),
    }
)
_COMPUTED = ("sum", "mean", "std", "min", "max")
FUNCTIONS = ("count", *_COMPUTED, "last", "distinct")  # by their numbers in csrc/join/tile.h


@dataclass(frozen=True)
class Aggregate:
    """A feature that sums up an entity's newest events.

    Its value at t is that of the events that could be seen by then, and whose tile is one of the last
    `window / tile` up to and including t's own. So the window's newest edge is exact, and its oldest moves by
    a tile: of 5 seconds up to a window of 30 minutes, a minute up to 6 hours, 10 minutes up to 48 hours, an
    hour up to 15 days, 6 hours up to 60 days, and a day beyond. Nulls are skipped. Of no events, a count is 0
    and the rest is null.

    Args:
        name: Of the feature.
        function: count, sum, mean, std (of a sample; null of fewer than two), min, max, last (the newest by
            event time, known time and sequence) or distinct (how many different values, exactly).
        column: Of the source, and its datatype. None: rows, for count.
        window: How long; 5 minutes to 90 days, and a whole number of its tiles.

    Raises:
        DefinitionError: Something in it cannot be used; the message names it.
    """

    name: str
    function: str
    column: Column | None
    window: timedelta

    def __post_init__(self) -> None:
        where = f"aggregate {self.name!r}"
        check_name(self.name, where)
        if self.function not in FUNCTIONS:
            expected = ", ".join(FUNCTIONS)
            raise DefinitionError(f"{where}: function: expected one of {expected}, got {self.function!r}")
        if not SHORTEST <= self.window <= LONGEST:
            raise DefinitionError(f"{where}: window: expected 5 minutes to 90 days, got {self.window}")
        if self.window % self.tile:
            raise DefinitionError(f"{where}: window: expected a multiple of {self.tile}, got {self.window}")
        if self.column is not None:
            self._check_column(self.column, f"{where}, column {self.column.name!r}")
        elif self.function != "count":
            raise DefinitionError(f"{where}: column: {self.function} is of a column, got none")

    @property
    def tile(self) -> timedelta:
        """How wide the tiles are."""
        return next(tile for longest, tile in TILES.items() if self.window <= longest)

    @property
    def datatype(self) -> str:
        """What the feature's values are."""
        if self.column is None or self.function in ("count", "distinct"):
            return "INT64"
        if self.function in ("mean", "std"):
            return "FP64"
        if self.function == "sum":
            return "FP64" if self.column.datatype.startswith("FP") else "INT64"
        return self.column.datatype

    @property
    def of_nothing(self) -> int | None:
        """What the feature is of no events; None: null."""
        return 0 if self.function in ("count", "distinct") else None

    def plain(self, inputs: Sequence[str]) -> tuple[int, int, int, int]:
        """Return it as the core has it: function by number, input or -1, window and tile in microseconds."""
        column = -1 if self.column is None else inputs.index(self.column.name)
        micros = timedelta(microseconds=1)
        return FUNCTIONS.index(self.function), column, self.window // micros, self.tile // micros

    def _check_column(self, column: Column, where: str) -> None:
        check_name(column.name, where)
        if column.datatype not in DUCKDB_TYPES or column.datatype == "UINT64":
            expected = ", ".join(name for name in DUCKDB_TYPES if name != "UINT64")
            raise DefinitionError(f"{where}: expected one of {expected}, got {column.datatype!r}")
        refused = {"BYTES": _COMPUTED, "BOOL": ("min", "max")}.get(column.datatype, ())
        if self.function in refused:
            raise DefinitionError(f"{where}: {self.function} is of numbers, got {column.datatype}")
        check_demands(column, where)
        if column.default is not None:
            raise DefinitionError(f"{where}: default: an aggregate's column has none, got {column.default!r}")

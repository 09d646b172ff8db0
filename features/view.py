"""A view: typed feature columns of an entity, with the times that tell what was known when."""

from dataclasses import dataclass
from datetime import timedelta

from falaj.features.datatypes import DUCKDB_TYPES, FLOATS, Value, check_value
from falaj.features.entity import Entity, check_name
from falaj.features.errors import DefinitionError
from falaj.features.source import Source, SqlQuery


@dataclass(frozen=True)
class Column:
    """A feature.

    Args:
        name: Of the column.
        datatype: By the Open Inference Protocol's name, such as FP32.
        default: What serves where the entity has no value, or an expired one; None: nothing does.
        required: A row where it is null is bad. These say what a row is checked for, see checks.py.
        minimum, maximum: A row with less, or more, or NaN is bad; of numbers only.
        one_of: A row with another value is bad.
        finite: A row with NaN or an infinity is bad; of floats only.
    """

    name: str
    datatype: str
    default: Value | None = None
    required: bool = False
    minimum: int | float | None = None
    maximum: int | float | None = None
    one_of: tuple[Value, ...] | None = None
    finite: bool = False


@dataclass(frozen=True)
class Tags:
    """What governs the use of a view; free words, shown and checked where access is decided."""

    purpose: str = ""
    sensitivity: str = ""
    jurisdiction: str = ""


@dataclass(frozen=True)
class View:
    """Rows of feature values, each true of its entity from a time on, and known from a time on.

    Args:
        name: Of the view.
        version: From 1; a changed definition is another version.
        entity: What the rows are about; the source has its keys as columns.
        source: Where they come from.
        columns: The features, in order.
        event_time: The source's column that tells from when on a row's values are true.
        known_time: The one that tells when the row arrived. None where that is the event time: a claim that
            no row ever came late.
        source_delay: What passes from a row's arrival until it can be used.
        ttl: For how long from its event time on a row's values hold, the bound included; None: until a newer
            row.
        sequence: A column of integers that orders rows of the same two times, the newest last. None: their
            order in the source's files.
        deleted: A column of booleans, true in rows which tell that the entity has no values any more.
        sql: The transformation, a SELECT of DuckDB from the table `source`; None: its rows as they are. Not
            where the source is a query itself.
        unique: Of rows with the same keys, times and sequence all but the last are bad.
        freshness: How long ago the newest row may have become known; told by checks, the fault of no row.
        owner: Who answers for the view.
        tags: What governs its use.

    Raises:
        DefinitionError: Something in it cannot be used; the message names it.
    """

    name: str
    version: int
    entity: Entity
    source: Source
    columns: tuple[Column, ...]
    event_time: str
    known_time: str | None
    source_delay: timedelta = timedelta()
    ttl: timedelta | None = None
    sequence: str | None = None
    deleted: str | None = None
    sql: str | None = None
    unique: bool = False
    freshness: timedelta | None = None
    owner: str = ""
    tags: Tags = Tags()

    def __post_init__(self) -> None:
        where = str(self)
        check_name(self.name, where)
        if isinstance(self.version, bool) or not 1 <= self.version < 2**31:
            raise DefinitionError(f"{where}: version: expected 1 to {2**31 - 1}, got {self.version}")
        if self.source_delay < timedelta():
            raise DefinitionError(f"{where}: source_delay: expected 0 or more, got {self.source_delay}")
        if self.ttl is not None and self.ttl < timedelta():
            raise DefinitionError(f"{where}: ttl: expected 0 or more, got {self.ttl}")
        if self.freshness is not None and self.freshness < timedelta():
            raise DefinitionError(f"{where}: freshness: expected 0 or more, got {self.freshness}")
        if self.sql is not None and isinstance(self.source, SqlQuery):
            raise DefinitionError(f"{where}: sql: its source is a query: put the transformation into that")
        if not self.columns:
            raise DefinitionError(f"{where}: columns: expected at least one")
        self._check_names(where)
        for column in self.columns:
            at = f"{where}, column {column.name!r}"
            if column.datatype not in DUCKDB_TYPES:
                expected = ", ".join(DUCKDB_TYPES)
                raise DefinitionError(f"{at}: expected one of {expected}, got {column.datatype!r}")
            if column.default is not None:
                check_value(column.default, column.datatype, f"{at}: default")
            _check_demands(column, at)

    def __str__(self) -> str:
        return f"view {self.name}@{self.version}"

    def _check_names(self, where: str) -> None:
        times = {"event_time": self.event_time, "known_time": self.known_time}
        others = {**times, "sequence": self.sequence, "deleted": self.deleted}
        taken = dict.fromkeys(self.entity.keys, f"a key of {self.entity.name}")
        for role, name in others.items():
            if name is None:
                continue
            if not name:
                raise DefinitionError(f"{where}: {role}: expected the name of a column, got none")
            if name in taken:
                raise DefinitionError(f"{where}: {role}: {name!r} is already {taken[name]}")
            taken[name] = role
        for column in self.columns:
            check_name(column.name, f"{where}, column {column.name!r}")
            if column.name in taken:
                raise DefinitionError(f"{where}, column {column.name!r}: is already {taken[column.name]}")
            taken[column.name] = "a column"


def _check_demands(column: Column, at: str) -> None:
    bounds = {"minimum": column.minimum, "maximum": column.maximum}
    for role, bound in bounds.items():
        if bound is None:
            continue
        if column.datatype in ("BOOL", "BYTES"):
            raise DefinitionError(f"{at}: {role}: is for numbers, not {column.datatype}")
        if check_value(bound, column.datatype, f"{at}: {role}") != bound or bound != bound:
            raise DefinitionError(f"{at}: {role}: expected a number of {column.datatype}, got {bound}")
    if column.minimum is not None and column.maximum is not None and column.minimum > column.maximum:
        raise DefinitionError(f"{at}: minimum: {column.minimum} is above the maximum, {column.maximum}")
    if column.one_of is not None and not column.one_of:
        raise DefinitionError(f"{at}: one_of: expected at least one value")
    for value in column.one_of or ():
        check_value(value, column.datatype, f"{at}: one_of")
    if column.finite and column.datatype not in FLOATS:
        raise DefinitionError(f"{at}: finite: is for floats, not {column.datatype}")

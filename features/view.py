"""A view: typed feature columns of an entity, with the times that tell what was known when."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from falaj.features.aggregate import Aggregate
from falaj.features.column import Column, check_demands
from falaj.features.datatypes import DUCKDB_TYPES, check_value
from falaj.features.entity import Entity, check_name
from falaj.features.errors import DefinitionError
from falaj.features.source import PUSHED_SEQUENCE, PushedRows, Source, SqlQuery

__all__ = ["Column", "Tags", "View", "keys_of"]
_STATUS = "status"  # `<view>__status` tells what was found of a view


@dataclass(frozen=True)
class Tags:
    """What governs the use of a view; free words, shown and checked where access is decided."""

    purpose: str = ""
    sensitivity: str = ""
    jurisdiction: str = ""


@dataclass(frozen=True, kw_only=True)
class View:
    """Rows of feature values, each true of its entity from a time on, and known from a time on.

    Or, where it has aggregates instead of columns, events of which these are made.

    Args:
        name: Of the view; without two underscores in a row, and none at its end.
        version: From 1; a changed definition is another version.
        entity: What the rows are about; the source has its keys as columns.
        source: Where they come from.
        columns: The features, in order, none of them named `status`. None where there are aggregates.
        aggregates: Features over sliding windows of the rows, in order. These have no ttl, and no row is
            deleted.
        event_id: A column of whole numbers or text that tells the copies of one event, which have one event
            time: the one known first, then by event time and sequence, is the event. A row where it is null
            is bad. None: every row is an event; not of a query, which is read again as a whole.
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
        unique: Of rows with the same keys, times and sequence all but the last are bad. Not of events.
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
    columns: tuple[Column, ...] = ()
    aggregates: tuple[Aggregate, ...] = ()
    event_time: str
    known_time: str | None
    event_id: str | None = None
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
        if "__" in self.name or self.name.endswith("_"):
            raise DefinitionError(
                f"{where}: name: expected no two underscores in a row and none at the end: in VIEW__COLUMN "
                "two end the view's name"
            )
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
        if isinstance(self.source, PushedRows):
            self._check_pushed(where)
        if self.aggregates or self.event_id is not None:
            self._check_windowed(where)
        elif not self.columns:
            raise DefinitionError(f"{where}: columns: expected at least one")
        self._check_names(where)
        for column in self.columns:
            at = f"{where}, column {column.name!r}"
            if column.datatype not in DUCKDB_TYPES:
                expected = ", ".join(DUCKDB_TYPES)
                raise DefinitionError(f"{at}: expected one of {expected}, got {column.datatype!r}")
            if column.default is not None:
                check_value(column.default, column.datatype, f"{at}: default")
            check_demands(column, at)

    def __str__(self) -> str:
        return f"view {self.name}@{self.version}"

    @property
    def features(self) -> tuple[Column, ...]:
        """The columns that the view has for an entity at a time, in order."""
        return self.columns or tuple(
            Column(each.name, each.datatype, default=each.of_nothing) for each in self.aggregates
        )

    @property
    def inputs(self) -> tuple[Column, ...]:
        """The columns that the source has: the features, or what they are aggregates of."""
        of = {each.column.name: each.column for each in self.aggregates if each.column is not None}
        return self.columns or tuple(of.values())

    @property
    def written(self) -> tuple[Column, ...]:
        """The columns that are written to an online store: the inputs, and the event ids, as text."""
        return self.inputs + (() if self.event_id is None else (Column(self.event_id, "BYTES"),))

    @property
    def ordered_by(self) -> str | None:
        """The source's column that orders rows of the same two times; None: they come in order."""
        if self.sequence is None and isinstance(self.source, PushedRows):
            return PUSHED_SEQUENCE
        return self.sequence

    def _check_pushed(self, where: str) -> None:
        if self.sql is not None:
            raise DefinitionError(f"{where}: sql: its rows are pushed: push what comes of the transformation")
        if self.unique:
            raise DefinitionError(f"{where}: unique: its rows are pushed, and may be pushed again")
        if self.aggregates and self.event_id is None:
            raise DefinitionError(
                f"{where}: event_id: expected one, since a row may be pushed again, got none"
            )

    def _check_windowed(self, where: str) -> None:
        if not self.aggregates:
            raise DefinitionError(f"{where}: event_id: is of a view with aggregates")
        if self.columns:
            raise DefinitionError(f"{where}: expected columns or aggregates, got both")
        if self.ttl is not None or self.deleted is not None:
            raise DefinitionError(f"{where}: expected neither ttl nor deleted beside aggregates")
        if self.unique:
            raise DefinitionError(
                f"{where}: unique: is not beside aggregates; event_id tells copies of events"
            )
        if isinstance(self.source, SqlQuery) and self.event_id is None:
            raise DefinitionError(
                f"{where}: event_id: expected one, since a query is read again as a whole, got none"
            )
        others: dict[str, Column] = {}
        for column in (each.column for each in self.aggregates if each.column is not None):
            other = others.setdefault(column.name, column)
            if other.datatype != column.datatype:
                told = f"is {other.datatype} and {column.datatype}"
                raise DefinitionError(f"{where}, column {column.name!r}: {told}")
            if other != column:
                raise DefinitionError(
                    f"{where}, column {column.name!r}: two aggregates demand otherwise of it"
                )
            if column.name in self.entity.keys:
                raise DefinitionError(f"{where}, column {column.name!r}: is a key of {self.entity.name}")

    def _check_names(self, where: str) -> None:
        times = {"event_time": self.event_time, "known_time": self.known_time}
        others = {**times, "sequence": self.sequence, "deleted": self.deleted, "event_id": self.event_id}
        taken = dict.fromkeys(self.entity.keys, f"a key of {self.entity.name}")
        for role, name in others.items():
            if name is None:
                continue
            if not name:
                raise DefinitionError(f"{where}: {role}: expected the name of a column, got none")
            if name.startswith("__"):
                raise DefinitionError(f"{where}: {role}: {name!r}: names that begin so are Falaj's own")
            if name in taken:
                raise DefinitionError(f"{where}: {role}: {name!r} is already {taken[name]}")
            taken[name] = role
        for column in self.features:
            check_name(column.name, f"{where}, column {column.name!r}")
            if column.name == _STATUS:
                raise DefinitionError(
                    f"{where}, column {_STATUS!r}: expected another name: {self.name}__{_STATUS} tells "
                    "whether there are values"
                )
            if column.name in taken:
                raise DefinitionError(f"{where}, column {column.name!r}: is already {taken[column.name]}")
            taken[column.name] = "a column"


def keys_of(views: Sequence[View]) -> dict[str, str]:
    """Return the key columns of views and their datatypes. Raises DefinitionError where two views differ."""
    keys: dict[str, str] = {}
    for view in views:
        for key, datatype in view.entity.keys.items():
            if keys.setdefault(key, datatype) != datatype:
                raise DefinitionError(f"{view}: key {key!r}: is {datatype}, and {keys[key]} in another view")
    return keys

"""What a view's definition demands of its rows, as SQL for DuckDB: good rows, and bad ones with a reason."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import duckdb

from falaj.features.datatypes import DUCKDB_TYPES, FLOATS, accepts
from falaj.features.demands import demands
from falaj.features.errors import DefinitionError
from falaj.features.offline.history import DELETED, EVENT, EVENT_ID, KNOWN, NEWEST, REASON, ROW, SEQUENCE
from falaj.features.offline.sql import OFFSET, blaming, literal, maybe_micros_sql, quoted
from falaj.features.offline.staging import TOLD, UNFIT
from falaj.features.raw_rows import Part
from falaj.features.source import CsvFiles
from falaj.features.view import View

# Of a row: where it is from, its number there from 1, and itself as JSON of text.
SOURCE, NUMBER, RAW = "__source", "__number", "__raw"
_FRESH = "__fresh"
_DUPLICATE = "duplicate"
_PLACE_SHIFT = 40  # rows of a part are numbered below 2**40, as sql.parquet_sql does


@dataclass(frozen=True)
class Window:
    """Which rows are wanted, by when they became known, UTC µs.

    Attributes:
        since_us: Only those known later; None: all.
        until_us: Only those known by then; None: all. A row whose time cannot be read counts as known.
        new: Places of the parts for which `since_us` does not hold.
    """

    since_us: int | None = None
    until_us: int | None = None
    new: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Checked:
    """Rows of a view, split.

    Attributes:
        good: A relation with the columns of a history, see history.py.
        bad: One with SOURCE, NUMBER, REASON and RAW.
        good_rows: How many are good.
        reasons: How many are bad, by reason.
        newest_us: When the newest good row became known; None where there is none.
    """

    good: str
    bad: str
    good_rows: int
    reasons: Mapping[str, int]
    newest_us: int | None


def check(
    connection: duckdb.DuckDBPyConnection, view: View, parts: Sequence[Part], window: Window | None = None
) -> Checked:
    """Split a view's rows into temporary views of good and of bad ones.

    Where the view is `unique`, bad are also rows outside of the window whose duplicate is there by its end.

    Raises:
        DataError: The rows cannot be read.
        DefinitionError: A column that the definition names is not there, or is of a type none of whose values
            can be of its datatype.
    """
    window = window or Window()
    rows = " UNION ALL ".join(_windowed(view, part, window) for part in parts)
    if view.unique:
        rows = _without_duplicates(view, rows)
    judged, good, bad = "__judged", "__good", "__bad"
    columns = ", ".join((*_keys(view), EVENT, KNOWN, SEQUENCE, DELETED, *_values(view)))
    found = f"SELECT {REASON}, count(*), max({KNOWN}) FROM {judged} GROUP BY 1 ORDER BY 1"
    with blaming(f"{view}, source"):
        for name, sql in (
            (judged, f"SELECT * FROM ({rows}) WHERE {_FRESH} OR {REASON} = {literal(_DUPLICATE)}"),
            (good, f"SELECT {columns} FROM {judged} WHERE {REASON} IS NULL"),
            (bad, f"SELECT {SOURCE}, {NUMBER}, {REASON}, {RAW} FROM {judged} WHERE {REASON} IS NOT NULL"),
        ):
            connection.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS {sql}")
        counts = {reason: (count, newest) for reason, count, newest in connection.execute(found).fetchall()}
    good_rows, newest = counts.pop(None, (0, None))
    return Checked(good, bad, good_rows, {reason: count for reason, (count, _) in counts.items()}, newest)


def judged_sql(view: View, part: Part) -> str:
    """Return SQL for a part's rows: the columns of a history, and SOURCE, NUMBER, REASON and RAW.

    Raises:
        DefinitionError: See `check`.
    """
    rules = [f"WHEN {rule} THEN {reason}" for rule, reason in _rules(view, part)]
    number = "NULL::BIGINT" if part.first is None else f"raw.{ROW} + {1 - part.first}"
    ours = (ROW, UNFIT, TOLD)
    told = ", ".join(f"{literal(name)}: {_raw(name)}::VARCHAR" for name in part.types if name not in ours)
    text = f"to_json({{{told}}})::VARCHAR"
    columns = [
        *_history(view, part),
        f"CASE {' '.join(rules)} END AS {REASON}",
        f"{literal(part.source)} AS {SOURCE}",
        f"{number} AS {NUMBER}",
        f"{f'coalesce(raw.{TOLD}, {text})' if TOLD in part.types else text} AS {RAW}",
    ]
    return f"SELECT {', '.join(columns)} FROM {part.relation} AS raw"


def _windowed(view: View, part: Part, window: Window) -> str:
    since, until = window.since_us, window.until_us
    old = since is not None and part.place not in window.new
    fresh = f"coalesce({KNOWN} > {since}, false)" if old else "true"
    asked = [] if until is None else [f"coalesce({KNOWN} <= {until}, true)"]
    if not view.unique:
        asked.append(fresh)  # nothing is asked of the others
    where = f" WHERE {' AND '.join(asked)}" if asked else ""
    return f"SELECT *, {fresh} AS {_FRESH} FROM ({judged_sql(view, part)}){where}"


def _without_duplicates(view: View, rows: str) -> str:
    """The one that stays is the one that a join would have taken."""
    same = [*_keys(view), EVENT, KNOWN, *([] if view.sequence is None else [SEQUENCE]), f"{REASON} IS NULL"]
    order = f"{SEQUENCE} DESC, {SOURCE} DESC, {NUMBER} DESC, {RAW} DESC"
    twice = f"row_number() OVER (PARTITION BY {', '.join(same)} ORDER BY {order}) > 1"
    reason = f"CASE WHEN {REASON} IS NULL AND {twice} THEN {literal(_DUPLICATE)} ELSE {REASON} END"
    return f"SELECT * REPLACE ({reason} AS {REASON}) FROM ({rows})"


def _rules(view: View, part: Part) -> Iterator[tuple[str, str]]:
    """What makes a row bad, and SQL for the reason: the first that holds is told."""
    if UNFIT in part.types:
        yield f"raw.{UNFIT} IS NOT NULL", f"raw.{UNFIT}"
    for rule, reason in _wrong(view, part):
        yield rule, literal(reason)


def _wrong(view: View, part: Part) -> Iterator[tuple[str, str]]:
    for role, name in _named(view):
        if name not in part.types:
            there = ", ".join(each for each in part.types if not each.startswith("__"))
            raise DefinitionError(f"{view}: {role}: no column {name!r} in {part.source}, which has {there}")
    for key, datatype in view.entity.keys.items():
        yield f"{_raw(key)} IS NULL", f"null key: {key}"
        yield from _typed(view, part, key, datatype)
    for time in (view.event_time, view.known_time):
        if time is not None:
            yield from _timed(view, part, time)
    if view.sequence is not None:
        yield from _typed(view, part, view.sequence, "INT64")
    if view.deleted is not None:
        yield from _typed(view, part, view.deleted, "BOOL")
    if view.event_id is not None and not _has_texts(view, part):
        yield from _typed(view, part, view.event_id, "INT64")
    if view.event_id is not None:
        yield f"{_raw(view.event_id)} IS NULL", f"null: {view.event_id}"  # see history.py
    for column in view.inputs:
        yield from _typed(view, part, column.name, column.datatype)
        for rule, reason in demands(column, _value(column.name, column.datatype)):
            # A tombstone has no values to demand anything of.
            yield f"NOT {_gone(view)} AND {rule}", reason


def _named(view: View) -> Iterator[tuple[str, str]]:
    for key in view.entity.keys:
        yield f"key {key!r}", key
    optional = {
        "known_time": view.known_time,
        "sequence": view.sequence,
        "deleted": view.deleted,
        "event_id": view.event_id,
    }
    yield "event_time", view.event_time
    yield from ((role, name) for role, name in optional.items() if name is not None)
    for column in view.inputs:
        yield f"column {column.name!r}", column.name


def _typed(view: View, part: Part, name: str, datatype: str) -> Iterator[tuple[str, str]]:
    column, of = _raw(name), part.types[name]
    if of == "VARCHAR" and datatype != "BYTES" and isinstance(view.source, CsvFiles) and view.sql is None:
        if "INT" in datatype:
            yield f"NOT regexp_full_match({column}, '[+-]?[0-9]+')", f"wrong type: {name}"
        else:
            wide = "BOOLEAN" if datatype == "BOOL" else "DOUBLE"
            yield f"{column} IS NOT NULL AND TRY_CAST({column} AS {wide}) IS NULL", f"wrong type: {name}"
    elif not accepts(datatype, of):
        raise DefinitionError(f"{view}: {name!r}: is {datatype}, {part.source} has {of}")
    yield f"{column} IS NOT NULL AND {_value(name, datatype)} IS NULL", f"out of range of {datatype}: {name}"


def _timed(view: View, part: Part, name: str) -> Iterator[tuple[str, str]]:
    column, of = _raw(name), part.types[name]
    yield f"{column} IS NULL", f"missing time: {name}"
    if (of.startswith("TIMESTAMP") and of != "TIMESTAMP WITH TIME ZONE") or of == "DATE":
        yield "true", f"naive time: {name}"
    elif of == "VARCHAR":
        naive = f"{_time(name, of)} IS NULL AND TRY_CAST({column} AS TIMESTAMP) IS NOT NULL"
        yield f"{naive} AND NOT regexp_matches({column}, {literal(OFFSET)})", f"naive time: {name}"
    elif of not in ("BIGINT", "TIMESTAMP WITH TIME ZONE"):
        raise DefinitionError(f"{view}: {name!r}: expected times, {part.source} has {of}")
    yield f"{_time(name, of)} IS NULL", f"unreadable time: {name}"


def _raw(name: str) -> str:
    return f"raw.{quoted(name)}"


def _value(name: str, datatype: str) -> str:
    value = f"TRY_CAST({_raw(name)} AS {DUCKDB_TYPES[datatype]})"
    if datatype not in FLOATS:
        return value
    # DuckDB reads text of a number that is too large as an infinity.
    too_large = f"isinf({value}) AND regexp_matches({_raw(name)}::VARCHAR, '[0-9]')"
    return f"CASE WHEN {too_large} THEN NULL ELSE {value} END"


def _time(name: str, of: str) -> str:
    return maybe_micros_sql(_raw(name), of)


def _gone(view: View) -> str:
    return "false" if view.deleted is None else f"coalesce({_value(view.deleted, 'BOOL')}, false)"


def _keys(view: View) -> list[str]:
    return [quoted(key) for key in view.entity.keys]


def _values(view: View) -> list[str]:
    event_id = [] if view.event_id is None else [EVENT_ID]
    return [*(quoted(column.name) for column in view.inputs), *event_id]


def _has_texts(view: View, part: Part) -> bool:
    """Whether event ids are texts; else they are whole numbers."""
    assert view.event_id is not None
    of = part.types[view.event_id]
    if of != "VARCHAR" and not accepts("INT64", of):
        raise DefinitionError(
            f"{view}: event_id: expected whole numbers or text, {part.source} has {of} in {view.event_id!r}"
        )
    return of == "VARCHAR"


def _history(view: View, part: Part) -> Iterator[str]:
    for key, datatype in view.entity.keys.items():
        yield f"{_value(key, datatype)} AS {quoted(key)}"
    known = view.known_time or view.event_time
    yield f"{_time(view.event_time, part.types[view.event_time])} AS {EVENT}"
    yield f"{_time(known, part.types[known])} AS {KNOWN}"
    if view.ordered_by is not None:
        yield f"coalesce({_value(view.ordered_by, 'INT64')}, {NEWEST}) AS {SEQUENCE}"
    else:
        row = f"raw.{ROW}" if ROW in part.types else "0"
        yield f"({row} + {part.place << _PLACE_SHIFT})::BIGINT AS {SEQUENCE}"
    yield f"{_gone(view)} AS {DELETED}"
    for column in view.inputs:
        yield f"{_value(column.name, column.datatype)} AS {quoted(column.name)}"
    if view.event_id is not None:
        # As text: one file may have numbers and another texts.
        number = f"{_value(view.event_id, 'INT64')}::VARCHAR"
        yield f"{_raw(view.event_id) if _has_texts(view, part) else number} AS {EVENT_ID}"

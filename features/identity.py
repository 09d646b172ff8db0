"""What a view's definition says, as plain data, and the hash by which it is known."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from falaj.features.aggregate import Aggregate
from falaj.features.column import Column
from falaj.features.datatypes import FLOATS
from falaj.features.entity import Entity
from falaj.features.errors import DataError, DefinitionError
from falaj.features.source import CsvFiles, ParquetFiles, PushedRows, Source, SqlQuery
from falaj.features.view import View

Plain = dict[str, Any]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KINDS: dict[str, type[Source]] = {
    "parquet": ParquetFiles,
    "csv": CsvFiles,
    "sql": SqlQuery,
    "pushed": PushedRows,
}


def meaning(view: View) -> Plain:
    """Return all of a definition that decides which values there are, as JSON has it; spans in microseconds.

    Who owns a view and how it is tagged is not part of it.
    """
    return {
        "name": view.name,
        "version": view.version,
        "entity": {"name": view.entity.name, "keys": [[key, of] for key, of in view.entity.keys.items()]},
        "source": _source(view.source),
        "event_time": view.event_time,
        "known_time": view.known_time,
        "source_delay_us": micros(view.source_delay),
        "ttl_us": None if view.ttl is None else micros(view.ttl),
        "sequence": view.sequence,
        "deleted": view.deleted,
        "sql": view.sql,
        "columns": {
            column.name: {
                "datatype": column.datatype,
                "default": _default(column),
                **_demands(column),
            }
            for column in view.columns
        },
        # Only where it is said, so that views from before there were checks keep their hash.
        **({"unique": True} if view.unique else {}),
        **_windowed(view),
    }


def view_of(told: Mapping[str, Any], stewards: Mapping[str, Any] | None = None) -> View:
    """Return the view, without owner and tags, of which `meaning` said this.

    Args:
        stewards: What `stewardship` said of it, for its freshness.
    """
    entity, ttl = told["entity"], told["ttl_us"]
    fresh = (stewards or {}).get("freshness_us")
    return View(
        name=told["name"],
        version=told["version"],
        entity=Entity(entity["name"], dict(entity["keys"])),
        source=_source_of(told["source"]),
        columns=tuple(_column(name, of) for name, of in told["columns"].items()),
        event_time=told["event_time"],
        known_time=told["known_time"],
        source_delay=timedelta(microseconds=told["source_delay_us"]),
        ttl=None if ttl is None else timedelta(microseconds=ttl),
        sequence=told["sequence"],
        deleted=told["deleted"],
        sql=told["sql"],
        unique=told.get("unique", False),
        freshness=None if fresh is None else timedelta(microseconds=fresh),
        aggregates=tuple(_aggregate(name, of) for name, of in told.get("aggregates", {}).items()),
        event_id=told.get("event_id"),
    )


def stewardship(view: View) -> Plain:
    """Return the rest: who answers for the view, what governs its use, how fresh it is to be."""
    tags = view.tags
    return {
        "owner": view.owner,
        "purpose": tags.purpose,
        "sensitivity": tags.sensitivity,
        "jurisdiction": tags.jurisdiction,
        **({} if view.freshness is None else {"freshness_us": micros(view.freshness)}),
    }


def micros(span: timedelta) -> int:
    """Return a span in whole microseconds."""
    return span // timedelta(microseconds=1)


def micros_of(time: datetime) -> int:
    """Return a time as UTC microseconds since 1970. Raises DataError where it is naive."""
    if time.tzinfo is None:
        raise DataError(f"expected a time with its time zone, got {time}")
    return (time - _EPOCH) // timedelta(microseconds=1)


def content_hash(told: Plain) -> str:
    """Return the SHA-256, in hex, of what `meaning` returned; the order of columns counts."""
    text = json.dumps(told, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def difference(old: Mapping[str, Any], new: Mapping[str, Any], at: str = "") -> list[str]:
    """Return a line for each value that differs, `path: old -> new`, in the order of both."""
    lines = []
    for key in [*old, *(key for key in new if key not in old)]:
        path = f"{at}.{key}" if at else key
        before, after = old.get(key, _ABSENT), new.get(key, _ABSENT)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            lines += difference(before, after, path)
        elif before != after:
            lines.append(f"{path}: {_shown(before)} -> {_shown(after)}")
    if not lines and list(old) != list(new):
        lines.append(f"{at or 'keys'}: order {', '.join(old)} -> {', '.join(new)}")
    return lines


_ABSENT = object()


def _shown(value: Any) -> str:
    return "absent" if value is _ABSENT else json.dumps(value, ensure_ascii=False)


def _source(source: Source) -> Plain:
    (kind,) = (kind for kind, of in _KINDS.items() if type(source) is of)
    told = {"folder": source.folder} if isinstance(source, PushedRows) else asdict(source)
    return {"kind": kind, **told}


def _source_of(told: Mapping[str, Any]) -> Source:
    return _KINDS[told["kind"]](**{name: value for name, value in told.items() if name != "kind"})


def _default(column: Column) -> Any:
    # JSON has no NaN and no infinities; the text of a float tells it exactly.
    default = column.default
    return default if default is None or column.datatype not in FLOATS else repr(float(default))


def _column(name: str, told: Mapping[str, Any]) -> Column:
    def read(value: Any) -> Any:
        return float(value) if value is not None and told["datatype"] in FLOATS else value

    allowed = told.get("one_of")
    return Column(
        name,
        told["datatype"],
        read(told["default"]),
        required=told.get("required", False),
        minimum=read(told.get("minimum")),
        maximum=read(told.get("maximum")),
        one_of=None if allowed is None else tuple(read(value) for value in allowed),
        finite=told.get("finite", False),
    )


def _demands(column: Column) -> Plain:
    # Only those that are made, as `unique`.
    def told(value: Any) -> Any:
        return repr(float(value)) if column.datatype in FLOATS else value

    made: Plain = {name: True for name in ("required", "finite") if getattr(column, name)}
    for name in ("minimum", "maximum"):
        if getattr(column, name) is not None:
            made[name] = told(getattr(column, name))
    if column.one_of is not None:
        made["one_of"] = [told(value) for value in column.one_of]
    return made


def _windowed(view: View) -> Plain:
    # Not there in a view without: its hash is from before there were any.
    if not view.aggregates:
        return {}
    return {
        "event_id": view.event_id,
        "aggregates": {
            each.name: {
                "function": each.function,
                "column": None if each.column is None else _counted(each.column),
                "window_us": micros(each.window),
                "tile_us": micros(each.tile),
            }
            for each in view.aggregates
        },
    }


def _counted(column: Column) -> list[Any]:
    demands = _demands(column)
    return [column.name, column.datatype, *([demands] if demands else [])]


def _aggregate(name: str, told: Mapping[str, Any]) -> Aggregate:
    column = None
    if told["column"] is not None:
        of, datatype, *demands = told["column"]
        column = _column(of, {"datatype": datatype, "default": None, **(demands[0] if demands else {})})
    made = Aggregate(name, told["function"], column, timedelta(microseconds=told["window_us"]))
    if micros(made.tile) != told["tile_us"]:
        raise DefinitionError(
            f"aggregate {name!r}: expected tiles of {micros(made.tile)} us, got {told['tile_us']}"
        )
    return made

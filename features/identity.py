"""What a view's definition says, as plain data, and the hash by which it is known."""

import hashlib
import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from falaj.features.source import Source
from falaj.features.view import View

Plain = dict[str, Any]
_KINDS = {"ParquetFiles": "parquet", "CsvFiles": "csv"}


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
        "source_delay_us": _micros(view.source_delay),
        "ttl_us": None if view.ttl is None else _micros(view.ttl),
        "sequence": view.sequence,
        "deleted": view.deleted,
        "sql": view.sql,
        "columns": {
            column.name: {"datatype": column.datatype, "default": _default(column.default)}
            for column in view.columns
        },
    }


def stewardship(view: View) -> Plain:
    """Return the rest of a definition: who answers for the view, and what governs its use."""
    tags = view.tags
    return {
        "owner": view.owner,
        "purpose": tags.purpose,
        "sensitivity": tags.sensitivity,
        "jurisdiction": tags.jurisdiction,
    }


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
    return {"kind": _KINDS[type(source).__name__], "glob": source.glob}


def _default(default: Any) -> Any:
    # JSON has no NaN and no infinities; the text of a float tells it exactly.
    return repr(default) if isinstance(default, float) else default


def _micros(span: timedelta) -> int:
    return span // timedelta(microseconds=1)

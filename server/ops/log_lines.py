"""Log lines as text or JSON: pure functions. One event is one line, whatever clients put into it."""

import json
import logging
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

# What a LogRecord always has; anything else on it was given by `extra` and is a field of the event.
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_FIXED = ("ts", "level", "logger", "msg")
# Characters that end a line or that a terminal takes for a command.
_UNPRINTABLE = {
    code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
    for code in (*range(32), *range(127, 160), 0x2028, 0x2029)
}
_UNPRINTABLE |= {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}
_ENCODER = msgspec.json.Encoder(enc_hook=str)


def timestamp(seconds: float, separator: str = "T", zone: str = "Z") -> str:
    """Return seconds since the epoch as RFC 3339 with microseconds, in UTC."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d{separator}%H:%M:%S.%f}{zone}"


def event_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return a record as the event that json_line and text_line write."""
    event: dict[str, Any] = {
        "ts": record.created,
        "level": record.levelname.lower() if record.levelno >= logging.DEBUG else "debug",
        "logger": record.name,
        "msg": _message(record),
    }
    for key, value in record.__dict__.items():
        if key not in _STANDARD and key not in _FIXED:
            event[key] = value
    if record.exc_info and record.exc_info[0] is not None:
        event["exception"] = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
    return event


def json_line(event: Mapping[str, Any]) -> bytes:
    """Return an event as one JSON object. `ts` is in seconds since the epoch."""
    told = {**event, "ts": timestamp(event["ts"])}
    try:
        return _ENCODER.encode(told) + b"\n"
    except (UnicodeEncodeError, TypeError, ValueError, RecursionError):
        # Half a surrogate pair, a key that is no text, an object within itself: as Python would print it.
        plain = {_clean(str(key)): _clean(_shown(value)) for key, value in told.items()}
        return _ENCODER.encode(plain) + b"\n"


def text_line(event: Mapping[str, Any], *, iso8601: bool = False) -> bytes:
    """Return an event as one line for people, an exception on lines of its own below it, indented."""
    when = timestamp(event["ts"]) if iso8601 else timestamp(event["ts"], " ", "")
    parts = [f"{when} {event['level'].upper():7} {event['logger']}: {printable(event['msg'])}"]
    parts += [
        f"{printable(str(key))}={_field(value)}"
        for key, value in event.items()
        if key not in _FIXED and key != "exception"
    ]
    line = " ".join(parts)
    for below in event.get("exception", "").splitlines():
        line += f"\n  {printable(below)}"
    return line.encode("utf-8", "backslashreplace") + b"\n"


def printable(text: str) -> str:
    """Return text with everything escaped that would end a line or that a terminal takes for a command."""
    return text.translate(_UNPRINTABLE)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError) as error:  # arguments that do not fit: the caller's slip, still to be told
        return f"{record.msg} ({error})"


def _field(value: object) -> str:
    shown = _shown(value)
    if shown and not any(c in ' "=' or ord(c) in _UNPRINTABLE for c in shown):
        return shown
    return printable(json.dumps(shown, ensure_ascii=False))


def _shown(value: object) -> str:
    return value if isinstance(value, str) else repr(value)


def _clean(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")

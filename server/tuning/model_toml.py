"""Sets keys in the text of a `model.toml`, and leaves all else as it is: comments, order, spaces."""

import re
import tomllib
from collections.abc import Mapping

from falaj.server.errors import ConfigError
from falaj.server.model_config import from_table
from falaj.server.strict_toml import parse_toml

_TABLE = re.compile(r"\s*\[")
_KEY = re.compile(r"""\s*(?:"(?P<basic>[^"\\]*)"|'(?P<literal>[^']*)'|(?P<bare>[A-Za-z0-9_-]+))\s*=""")


def with_keys(text: str, values: Mapping[str, int], *, where: str) -> str:
    """Return the text with top-level keys set to numbers.

    A key that is there gets its new value in its place, with the comment behind it; the others are put before
    the first table. The result is read back: it says what the text said, and the values.

    Raises:
        ConfigError: `where` is no valid model.toml, or is written in a way that is not edited safely.
    """
    before = parse_toml(text, source=where)
    from_table(before, where)
    lines = text.splitlines(keepends=True)
    end = _first_table(lines)
    left = dict(values)
    for place in range(end):
        name = _key_of(lines[place])
        if name in left:
            lines[place] = _set(lines[place], left.pop(name))
    added = [f"{name} = {value}\n" for name, value in left.items()]
    keys = [place for place in range(end) if _key_of(lines[place]) is not None]
    # Behind the last key, which may be in the middle of an array; before the first there is none yet.
    for at in (keys[-1] + 1, keys[0]) if keys else (0,):
        edited = _inserted(lines, at, added)
        if _parsed(edited) == {**before, **values}:
            from_table({**before, **values}, where)
            return edited
    told = ", ".join(f"{name} = {value}" for name, value in values.items())
    raise ConfigError(f"is not edited safely; set in it by hand: {told}", source=where)


def without(text: str, name: str, *, where: str) -> str:
    """Return the text without a table, or key, of the top level.

    Raises:
        ConfigError: `where` is not TOML, or is written in a way that is not edited safely.
    """
    before = parse_toml(text, source=where)
    if name not in before:
        return text
    kept, inside, top = [], False, True
    own = re.compile(rf"\s*\[\[?\s*{re.escape(name)}\s*[].]")
    for line in text.splitlines(keepends=True):
        if _TABLE.match(line):
            inside, top = own.match(line) is not None, False
        if not inside and not (top and _key_of(line) == name):
            kept.append(line)
    edited = "".join(kept)
    if _parsed(edited) != {key: value for key, value in before.items() if key != name}:
        raise ConfigError(f"'{name}' is not taken out safely; write it as a table [{name}]", source=where)
    return edited


def _parsed(text: str) -> dict[str, object] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _first_table(lines: list[str]) -> int:
    return next((place for place, line in enumerate(lines) if _TABLE.match(line)), len(lines))


def _inserted(lines: list[str], at: int, added: list[str]) -> str:
    if not added:
        return "".join(lines)
    before = "".join(lines[:at])
    if before and not before.endswith("\n"):
        before += "\n"
    apart = "\n" if at == 0 and lines and _TABLE.match(lines[0]) else ""
    return before + "".join(added) + apart + "".join(lines[at:])


def _key_of(line: str) -> str | None:
    found = _KEY.match(line)
    return None if found is None else found["basic"] or found["literal"] or found["bare"]


def _set(line: str, value: int) -> str:
    """Replace what is between the equals sign and a comment: numbers and "auto" have no `#` in them."""
    head, rest = line[: line.index("=") + 1], line[line.index("=") + 1 :]
    old = rest.split("#", 1)[0]
    space = old[: len(old) - len(old.lstrip(" \t"))]
    behind = old[len(old.rstrip()) :]
    return f"{head}{space or ' '}{value}{behind}{rest[len(old) :]}"

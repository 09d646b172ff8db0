"""TOML into frozen structs, strictly: every unknown key and every wrong type is an error that names its path.

msgspec describes the types and converts the scalars. The tables are walked here, because the error has to
name the whole key path and the nearest known key, which msgspec's own errors do not.
"""

import difflib
import re
import tomllib
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec

from falaj.server.errors import ConfigError, join_key

StructT = TypeVar("StructT", bound=msgspec.Struct)

_SCALARS: dict[Any, str] = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
_INT64_MAX = 2**63 - 1


def read_text(path: Path) -> str:
    """Return what a file says. Raises ConfigError where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read: {error}", source=str(path)) from error


def read_toml(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file. Raises ConfigError where it cannot be read or is not TOML."""
    return parse_toml(read_text(path), source=str(path))


def parse_toml(text: str, *, source: str) -> dict[str, Any]:
    """Return the tables of a TOML text. Raises ConfigError where it is not TOML."""
    try:
        return tomllib.loads(text)
    except ValueError as error:
        raise ConfigError(f"not valid TOML: {error}", source=source) from error
    except RecursionError as error:
        raise ConfigError("not usable TOML: nested too deeply", source=source) from error


def decode(value: object, struct: type[StructT], *, source: str) -> StructT:
    """Return tables as a struct. Raises ConfigError that names `source`, the key path, got and expected."""
    try:
        result: StructT = _decode(value, struct, "")
    except ConfigError as error:
        raise error.from_source(source) from error
    return result


def override(config: StructT, values: Mapping[str, str], *, source: str) -> StructT:
    """Return `config` with scalar keys set from text, held to the same checks as the file.

    Args:
        config: What the file said.
        values: Key (as the file spells it) to text. `none` unsets a key that has no default value.
        source: What the errors name, such as the environment.

    Raises:
        ConfigError: an unknown key, a key that is a table, text of the wrong type, a value out of range.
    """
    fields = {field.encode_name: field for field in msgspec.structs.fields(config)}
    scalars = [name for name, field in fields.items() if _is_scalar(field.type)]
    changes: dict[str, Any] = {}
    try:
        for key, text in values.items():
            if key in fields and key not in scalars:
                raise ConfigError("is a table, which can only be set in the file", key=key)
            if key not in fields:
                raise ConfigError(f"unknown key{did_you_mean(key, scalars)}", key=key)
            changes[fields[key].name] = parse_scalar(text, fields[key].type, key)
        return msgspec.structs.replace(config, **changes)
    except ConfigError as error:
        raise error.from_source(source) from error


def parse_scalar(text: str, type_: Any, key: str) -> Any:
    """Return text as the first type of `type_` that takes it. Raises ConfigError that names `key`."""
    choices = _choices(type_)
    if text.lower() == "none" and type(None) in get_args(type_):
        return None
    for choice in choices:
        if get_origin(choice) is Literal and text in get_args(choice):
            return text
        if choice is bool and text.lower() in ("true", "1", "false", "0"):
            return text.lower() in ("true", "1")
        if choice is int and re.fullmatch(r"[+-]?[0-9]{1,19}", text):
            return int(text)
        if choice is float and re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", text):
            return float(text)
        if choice is str:
            return text
    raise ConfigError(f"expected {_expected(type_)}, got {text!r}", key=key)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a clause that names the known name nearest to `name`, or all of them where none is near."""
    names = sorted(known)
    near = nearest(name, names, cutoff=0.5)
    return f"; known here: {', '.join(names)}" if near is None else f"; did you mean '{near}'?"


def nearest(name: str, known: Iterable[str], *, cutoff: float) -> str | None:
    """Return the known name most like `name`, None where none is alike to at least `cutoff` (0 to 1)."""
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=cutoff)
    return near[0] if near else None


def _decode(value: object, type_: Any, key: str) -> Any:
    choices = _choices(type_)
    choice, origin = choices[0], get_origin(choices[0])
    if len(choices) > 1:
        return _decode_scalar(value, type_, key)
    if isinstance(choice, type) and issubclass(choice, msgspec.Struct):
        return _decode_struct(value, choice, key)
    if origin is tuple:
        return _decode_array(value, get_args(choice)[0], key)
    if origin is dict:
        return _decode_mapping(value, get_args(choice), key)
    return _decode_scalar(value, type_, key)


def _decode_struct(value: object, struct: type[msgspec.Struct], key: str) -> msgspec.Struct:
    table = _table(value, key)
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    arguments: dict[str, Any] = {}
    for name, item in table.items():
        path = join_key(key, name)
        if name not in fields:
            raise ConfigError(f"unknown key{did_you_mean(name, fields)}", key=path)
        arguments[fields[name].name] = _decode(item, fields[name].type, path)
    for name, field in fields.items():
        if field.required and name not in table:
            raise ConfigError(f"is missing; expected {_expected(field.type)}", key=join_key(key, name))
    try:
        return struct(**arguments)
    except ConfigError as error:
        raise error.within(key) from error


def _decode_array(value: object, item_type: Any, key: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise ConfigError(f"expected an array, got {_got(value)}", key=key)
    return tuple(_decode(item, item_type, f"{key}[{index}]") for index, item in enumerate(value))


def _decode_mapping(value: object, key_and_item: tuple[Any, ...], key: str) -> dict[Any, Any]:
    key_type, item_type = key_and_item
    result: dict[Any, Any] = {}
    for name, item in _table(value, key).items():
        path = join_key(key, name)
        if key_type is int and not re.fullmatch(r"0|[1-9][0-9]{0,17}", name):
            raise ConfigError("expected a whole number as the key", key=path)
        if isinstance(item, dict) and item_type is str:
            raise ConfigError("expected text, got a table; put quotes around a key that has dots", key=path)
        result[key_type(name)] = _decode(item, item_type, path)
    return result


def _decode_scalar(value: object, type_: Any, key: str) -> Any:
    if type(value) is int and not -_INT64_MAX - 1 <= value <= _INT64_MAX:
        raise ConfigError("expected a number of 64 bits, got a larger one", key=key)
    try:
        return msgspec.convert(value, type_)
    except msgspec.ValidationError as error:
        hint = ""
        if _choices(type_) == [str] and isinstance(value, int | float):
            hint = " (put quotes around it)"
        raise ConfigError(f"expected {_expected(type_)}, got {_got(value)}{hint}", key=key) from error


def _table(value: object, key: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"expected a table, got {_got(value)}", key=key)
    return value


def _choices(type_: Any) -> list[Any]:
    members = get_args(type_) if get_origin(type_) in (Union, types.UnionType) else (type_,)
    return [member for member in members if member is not type(None)]


def _is_scalar(type_: Any) -> bool:
    return all(choice in _SCALARS or get_origin(choice) is Literal for choice in _choices(type_))


def _expected(type_: Any) -> str:
    words: list[str] = []
    for choice in _choices(type_):
        if get_origin(choice) is Literal:
            words.extend(f"'{option}'" for option in get_args(choice))
        else:
            words.append(_SCALARS.get(choice, "an array" if get_origin(choice) is tuple else "a table"))
    return " or ".join(words)


def _got(value: object) -> str:
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "an array"
    if isinstance(value, bool):
        return str(value).lower()
    shown = repr(value) if isinstance(value, str) else str(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."

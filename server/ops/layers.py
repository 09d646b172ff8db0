"""Lays flags over environment over file, decodes the result once, and tells where a bad value came from."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import msgspec

from falaj.server.errors import ConfigError, join_key
from falaj.server.strict_toml import decode, did_you_mean, nearest, parse_scalar, parse_toml, read_text

StructT = TypeVar("StructT", bound=msgspec.Struct)

_PREFIX = "FALAJ_"
_CONFIG = "FALAJ_CONFIG"
_DEFAULT_FILE = "falaj.toml"
# Kubernetes sets such variables for every service, so a service named falaj, or falaj-grpc, is no mistake.
_KUBERNETES = re.compile(
    r"\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_[A-Z]+)?)=.*|\w+_PORT=(tcp|udp|sctp)://.*"
)


@dataclass(frozen=True)
class Flag:
    """A value from the command line: text, or what the command line's parser made of it."""

    name: str  # as the user wrote it, such as "--http-port"
    value: Any


@dataclass(frozen=True)
class _Override:
    source: str
    value: Any


def keys_of(struct: type[msgspec.Struct], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the path and the type of every key of a tree of tables."""
    for field in msgspec.structs.fields(struct):
        key = join_key(path, field.encode_name)
        tables = [t for t in (field.type, *get_args(field.type)) if _is_table(t)]
        if tables:
            yield from keys_of(tables[0], key)
        else:
            yield key, field.type


def variable_of(key: str) -> str:
    """Return the environment variable of a key path."""
    return _PREFIX + key.replace(".", "_").upper()


def resolve(
    struct: type[StructT],
    config: Path | None,
    *,
    flags: Mapping[str, Flag],
    environment: Mapping[str, str] | None,
) -> StructT:
    """Return the struct that flags, environment and file make. See settings.load_settings."""
    environment = os.environ if environment is None else environment
    types = dict(keys_of(struct))
    file = _find_file(config, environment)
    text = "" if file is None else read_text(file)
    tree = parse_toml(text, source=str(file))
    overrides = {**_from_environment(environment, types), **_from_flags(flags, types)}
    for key, given in overrides.items():
        _put(tree, key, given.value)
    try:
        return decode(tree, struct, source="")
    except ConfigError as error:
        raise _located(error, overrides, file, text) from error


def line_of(text: str, key: str) -> int | None:
    """Return the line, from 1, on which a TOML text begins to say something about a key path.

    Found by parsing longer and longer heads of the text: in the first that knows the key, it is said by the
    lines after the longest head before it that could be parsed.
    """
    path = re.split(r"[.\[]", key.replace("]", ""))
    lines = text.split("\n")
    parsed = 0
    for end in range(1, len(lines) + 1):
        try:
            tree: Any = parse_toml("\n".join(lines[:end]), source="")
        except ConfigError:
            continue
        if _has(tree, path):
            return parsed + 1
        parsed = end
    return None


def _has(tree: Any, path: list[str]) -> bool:
    for part in path:
        if isinstance(tree, dict) and part in tree:
            tree = tree[part]
        elif isinstance(tree, list) and part.isdigit() and int(part) < len(tree):
            tree = tree[int(part)]
        else:
            return False
    return True


def _is_table(type_: Any) -> bool:
    return isinstance(type_, type) and issubclass(type_, msgspec.Struct)


def _find_file(config: Path | None, environment: Mapping[str, str]) -> Path | None:
    if config is not None:
        return config
    if environment.get(_CONFIG):
        return Path(environment[_CONFIG])
    default = Path(_DEFAULT_FILE)
    return default if default.is_file() else None


def _from_environment(environment: Mapping[str, str], types: Mapping[str, Any]) -> dict[str, _Override]:
    keys = {variable_of(key): key for key in types}
    found: dict[str, _Override] = {}
    for name in sorted(environment):
        key = keys.get(name)
        if key is not None:
            found[key] = _Override(name, _parse(environment[name], types[key], name))
        elif name.startswith(_PREFIX) and not _KUBERNETES.fullmatch(f"{name}={environment[name]}"):
            _check_variable(name, keys)
    return found


def _check_variable(name: str, known: Iterable[str]) -> None:
    """Others may have variables of the same prefix; one that is nearly ours is a slip."""
    near = None if name == _CONFIG else nearest(name, known, cutoff=0.8)
    if near is not None:
        raise ConfigError(f"unknown variable; did you mean '{near}'?", source=name)


def _from_flags(flags: Mapping[str, Flag], types: Mapping[str, Any]) -> dict[str, _Override]:
    found: dict[str, _Override] = {}
    for key, flag in flags.items():
        if key not in types:
            raise ConfigError(f"unknown key '{key}'{did_you_mean(key, types)}", source=flag.name)
        value = _parse(flag.value, types[key], flag.name) if isinstance(flag.value, str) else flag.value
        found[key] = _Override(flag.name, value)
    return found


def _parse(text: str, type_: Any, source: str) -> Any:
    if get_origin(type_) is tuple:
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        return parse_scalar(text, type_, "")
    except ConfigError as error:
        raise error.from_source(source) from error


def _put(tree: dict[str, Any], key: str, value: Any) -> None:
    """Set a value; where the file has something else than a table on the way, decoding will say so."""
    *tables, last = key.split(".")
    for table in tables:
        tree = tree.setdefault(table, {})
        if not isinstance(tree, dict):
            return
    tree[last] = value


def _located(
    error: ConfigError, overrides: Mapping[str, _Override], file: Path | None, text: str
) -> ConfigError:
    """Return the error with the place that is to blame: that of its key, else of something in its table."""
    key = error.key
    while key:
        bare = re.sub(r"\[\d+\]$", "", key)
        if bare in overrides:  # which says by its name what it is about
            return ConfigError(error.problem, source=overrides[bare].source)
        line = line_of(text, key)
        if line is not None and key == error.key:
            return error.from_source(f"{file}:{line}")
        inside = next((given for name, given in overrides.items() if name.startswith(f"{key}.")), None)
        if inside is not None:
            return error.from_source(inside.source)
        if line is not None:
            return error.from_source(f"{file}:{line}")
        key = key.rpartition(".")[0] if key == bare else bare
    return error if file is None else error.from_source(str(file))

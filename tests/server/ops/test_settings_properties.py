"""Properties of settings: sources agree, the nearest wins, and nothing raises anything but ConfigError."""

import json
import types
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, Union, get_args, get_origin

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from falaj.server.errors import ConfigError
from falaj.server.ops.layers import Flag, keys_of, line_of, variable_of
from falaj.server.ops.section import Section
from falaj.server.ops.settings import Settings, load_settings
from falaj.server.strict_toml import parse_toml

# Files, and a machine that others use too: how long an example takes says nothing.
_UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
_TYPES = dict(keys_of(Settings))
_text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
# Keys that others must agree with are left as they are, and lists, whose texts have rules of their own.
_FREE = [
    key
    for key in _TYPES
    if "tls" not in key
    and key.removeprefix("server.") not in ("load", "watch", "model_control")
    and not key.endswith(("host", "_port"))
    and get_origin(_TYPES[key]) is not tuple
    and key not in ("tracing.endpoint", "tracing.ca_file")
]


def _bounds(key: str) -> tuple[float, float]:
    section, name = key.split(".")
    struct: type[Section] = Settings.__annotations__[section]
    return struct.BOUNDS[name]


def _values(key: str) -> st.SearchStrategy[Any]:
    """Valid values of a key, never none."""
    type_ = _TYPES[key]
    members = get_args(type_) if get_origin(type_) in (Union, types.UnionType) else (type_,)
    [choice] = [member for member in members if member is not type(None)]
    if get_origin(choice) is Literal:
        return st.sampled_from(get_args(choice))
    if choice is bool:
        return st.booleans()
    if choice is str:
        return _text
    low, high = _bounds(key)
    return st.integers(int(low), int(high)) if choice is int else st.floats(low, high)


@st.composite
def _some_settings(draw: st.DrawFn) -> dict[str, Any]:
    keys = draw(st.lists(st.sampled_from(_FREE), unique=True, max_size=12))
    return {key: draw(_values(key)) for key in keys}


def _written(values: dict[str, Any]) -> str:
    def toml(value: Any) -> str:
        if isinstance(value, str):
            return json.dumps(value, ensure_ascii=False)
        return str(value).lower() if isinstance(value, bool) else repr(value)

    return "".join(f"{key} = {toml(value)}\n" for key, value in values.items())


def _load(text: str, env: dict[str, str] | None = None, flags: dict[str, Flag] | None = None) -> Settings:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "falaj.toml"
        path.write_text(text, encoding="utf-8", newline="\n")
        return load_settings(path, flags=flags, environment=env or {})


def _error_of(call: Callable[[], object]) -> ConfigError | None:
    try:
        call()
    except ConfigError as error:
        return error
    return None


def _get(settings: Settings, key: str) -> Any:
    value: Any = settings
    for part in key.split("."):
        value = getattr(value, part)
    return value


def _environment(values: dict[str, Any]) -> dict[str, str]:
    return {
        variable_of(key): str(value).lower() if isinstance(value, bool) else str(value)
        for key, value in values.items()
    }


def _unsets(value: Any) -> bool:
    """Whether a flag or variable of this text unsets its key."""
    return isinstance(value, str) and value.lower() == "none"


@_UNHURRIED
@given(_some_settings())
def test_load_settings_returns_the_same_when_file_environment_or_flags_say_it(values: dict[str, Any]) -> None:
    words = {key: value for key, value in values.items() if not _unsets(value)}
    from_file = _load(_written(words))
    assert from_file == _load("", _environment(words))
    assert from_file == _load("", flags={key: Flag(f"--{key}", value) for key, value in words.items()})
    for key, value in words.items():
        assert _get(from_file, key) == value


@_UNHURRIED
@given(_some_settings(), _some_settings(), _some_settings())
def test_load_settings_takes_the_nearest_value_when_sources_differ(
    file: dict[str, Any], env: dict[str, Any], flags: dict[str, Any]
) -> None:
    merged = {**file, **env, **flags}
    if any(map(_unsets, merged.values())):
        return
    given_flags = {key: Flag("--set", value) for key, value in flags.items()}
    assert _load(_written(file), _environment(env), given_flags) == _load(_written(merged))


@_UNHURRIED
@given(_some_settings())
def test_wire_options_hold_every_limit_when_settings_are_valid(values: dict[str, Any]) -> None:
    settings = _load(_written(values))
    options = settings.wire_options()
    assert options.keys() == Settings().wire_options().keys()
    for section in ("http", "grpc"):
        for key, value in msgspec.structs.asdict(getattr(settings, section)).items():
            if key != "tls":
                assert options[f"{section}.{key.removesuffix('_seconds')}"] == value
    assert 0 <= options["access_log_per_million"] <= 1_000_000


@_UNHURRIED
@given(st.sampled_from([key for key in _FREE if _TYPES[key] is int]), st.integers(-(2**70), 2**70))
def test_number_is_taken_exactly_when_it_is_in_range(key: str, value: int) -> None:
    low, high = _bounds(key)
    error = _error_of(lambda: _load(f"{key} = {value}\n"))
    assert (error is None) == (low <= value <= high)
    assert error is None or (error.key == key and error.source.endswith("falaj.toml:1"))


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | _text
_NAMES = st.sampled_from(sorted({part for key in _TYPES for part in key.split(".")})) | _text
_ANYTHING = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=4)
)


@_UNHURRIED
@given(st.dictionaries(_NAMES, _ANYTHING, max_size=4))
def test_load_settings_raises_only_config_error_when_file_has_anything(tree: dict[str, Any]) -> None:
    def toml(value: Any) -> str:
        if isinstance(value, dict):
            pairs = (f"{json.dumps(k)} = {toml(v)}" for k, v in value.items() if v is not None)
            return "{" + ", ".join(pairs) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(toml(item) for item in value if item is not None) + "]"
        if isinstance(value, str):
            return json.dumps(value, ensure_ascii=False)
        return str(value).lower() if isinstance(value, bool) else repr(value)

    text = "".join(f"{json.dumps(k)} = {toml(v)}\n" for k, v in tree.items() if v is not None)
    error = _error_of(lambda: _load(text))
    assert error is None or "falaj.toml" in error.source


@_UNHURRIED
@given(st.dictionaries(st.sampled_from([variable_of(key) for key in _TYPES]), _text, max_size=3))
def test_load_settings_blames_a_variable_when_only_variables_are_wrong(env: dict[str, str]) -> None:
    error = _error_of(lambda: _load("", env))
    assert error is None or error.source in env


@_UNHURRIED
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_load_settings_raises_only_config_error_when_text_is_arbitrary(text: str) -> None:
    error = _error_of(lambda: _load(text))
    assert error is None or "falaj.toml" in error.source


@_UNHURRIED
@given(_some_settings(), st.sampled_from(_FREE), st.lists(st.sampled_from(["", "# a", "   "]), max_size=3))
def test_line_of_finds_the_line_when_comments_are_between(
    values: dict[str, Any], key: str, between: list[str]
) -> None:
    values.pop(key, None)
    lines = [*_written(values).splitlines(), *between, f"{key} = 1"]
    text = "\n".join(lines)
    parse_toml(text, source="")
    assert line_of(text, key) == len(lines)

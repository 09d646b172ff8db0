"""Properties of model configurations: round trips, and that nothing raises anything but ConfigError."""

import json
from collections.abc import Callable
from typing import Any, Literal

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from falaj.server.errors import ConfigError
from falaj.server.model_config import (
    CacheConfig,
    DataType,
    InputConfig,
    ModelConfig,
    OutputConfig,
    Provider,
    QueuePolicy,
    VersionPolicy,
    Warmup,
    WarmupInput,
    apply_overrides,
    from_table,
)
from falaj.server.strict_toml import parse_toml

_COUNT = 2**31 - 1
_INT64 = 2**63 - 1

_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
_ms = st.none() | st.floats(1e-6, 1e12)
_NUMERIC: tuple[DataType, ...] = ("FP16", "BF16", "FP32", "FP64", "INT8", "INT64", "UINT8", "UINT64")
_ANY: tuple[DataType, ...] = (*_NUMERIC, "BOOL", "BYTES")
_AUTO: Literal["auto"] = "auto"


def _parse(text: str) -> ModelConfig:
    return from_table(parse_toml(text, source="model.toml"), "model.toml")


def _error_of(call: Callable[[], object]) -> ConfigError | None:
    try:
        call()
    except ConfigError as error:
        return error
    return None


@st.composite
def _inputs(draw: st.DrawFn) -> tuple[InputConfig, ...]:
    made = []
    for name in draw(st.lists(_names, unique=True, max_size=3)):
        rank = draw(st.integers(1, 4))
        axis = draw(st.none() | st.integers(1, rank))
        sizes = draw(st.lists(st.integers(-1, 64), min_size=rank, max_size=rank))
        if axis is not None:
            sizes[axis - 1] = -1
        pad = draw(st.integers(0, 127)) if axis is not None else 0
        mask = f"mask of {name}" if axis is not None and draw(st.booleans()) else None
        datatype = draw(st.none() | st.sampled_from(_NUMERIC if axis is not None else _ANY))
        shape = draw(st.none() | st.just((-1, *sizes)))
        made.append(InputConfig(name, datatype, shape, axis, pad, mask))
    return tuple(made)


@st.composite
def _outputs(draw: st.DrawFn, inputs: tuple[InputConfig, ...]) -> tuple[OutputConfig, ...]:
    padded = [tensor.name for tensor in inputs if tensor.pad_axis is not None]
    made = []
    for name in draw(st.lists(_names, unique=True, max_size=3)):
        like = draw(st.none() | st.sampled_from(padded)) if padded else None
        axis = None if like is None else draw(st.integers(1, 3))
        made.append(OutputConfig(name, draw(st.none() | st.sampled_from(_ANY)), (-1, -1, -1, -1), axis, like))
    return tuple(made)


@st.composite
def _configs(draw: st.DrawFn) -> ModelConfig:
    inputs = draw(_inputs())
    levels = draw(st.integers(1, 5))
    batch = draw(st.none() | st.integers(0, _COUNT))
    policies = st.builds(QueuePolicy, st.integers(0, _INT64), _ms, st.booleans())
    warmups = st.builds(
        Warmup,
        _text,
        st.integers(1, max(1, batch or 1)),
        st.integers(1, 9),
        st.dictionaries(
            _text,
            st.builds(WarmupInput, st.tuples(st.integers(0, 9)), st.sampled_from(["zero", "random"])),
            max_size=2,
        ),
    )
    versions = st.one_of(
        st.builds(VersionPolicy, st.just("latest"), st.integers(1, _COUNT)),
        st.just(VersionPolicy("all")),
        st.builds(
            lambda numbers: VersionPolicy("specific", list=tuple(numbers)),
            st.lists(st.integers(1, _INT64), min_size=1, max_size=3, unique=True),
        ),
    )
    values = _text | st.integers(-_INT64, _INT64) | st.floats(allow_nan=False) | st.booleans()
    auto: st.SearchStrategy[int | Literal["auto"]] = st.just(_AUTO) | st.integers(1, _COUNT)
    return ModelConfig(
        backend=draw(st.sampled_from([None, "onnxruntime", "python"])),
        model_filename=draw(st.sampled_from([None, "model.onnx", "a b.onnx"])),
        max_batch_size=batch,
        instances=draw(auto),
        threads=draw(auto),
        tune_ms=draw(st.integers(0, _COUNT)),
        slo_ms=draw(_ms),
        max_queue_rows=draw(st.integers(1, _INT64)),
        max_queue_requests=draw(st.integers(0, _INT64)),
        default_timeout_ms=draw(_ms),
        allow_timeout_override=draw(st.booleans()),
        priority_levels=levels,
        default_priority=draw(st.integers(1, levels)),
        priority_policy=draw(st.dictionaries(st.integers(1, levels), policies)),
        run_on_submitter=draw(st.booleans()),
        decoupled=False,
        drain_seconds=draw(st.floats(0, 1e9)),
        input=inputs,
        output=draw(_outputs(inputs)),
        provider=draw(st.sampled_from([(), (Provider("cuda", {"device_id": "1"}), Provider("cpu"))])),
        graph_optimization=draw(st.sampled_from(["disable", "basic", "extended", "all"])),
        session=draw(st.dictionaries(_text, _text, max_size=2)),
        versions=draw(versions),
        warmup=tuple(draw(st.lists(warmups, max_size=2))),
        cache=draw(st.none() | st.builds(CacheConfig, st.integers(2**14, _INT64), _ms)),
        parameters=draw(st.dictionaries(_text, values, max_size=3)),
        python_class=draw(st.sampled_from(["Model", "Fraud"])),
    )


def _toml(value: Any) -> str:
    """Write a value as TOML, tables inline; None is left out."""
    if isinstance(value, dict):
        pairs = (f"{_toml(str(key))} = {_toml(item)}" for key, item in value.items() if item is not None)
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)


def _document(config: ModelConfig) -> str:
    pairs = msgspec.to_builtins(config).items()
    return "\n".join(f"{key} = {_toml(value)}" for key, value in pairs if value is not None)


@given(_configs())
def test_from_table_returns_equal_config_when_config_is_written_as_toml(config: ModelConfig) -> None:
    assert _parse(_document(config)) == config


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_from_table_raises_only_config_error_when_text_is_arbitrary(text: str) -> None:
    error = _error_of(lambda: _parse(text))
    assert error is None or error.source == "model.toml"


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | _text | st.dates()
_KNOWN = [*ModelConfig.__struct_fields__, *InputConfig.__struct_fields__, "n", "list", "1"]
_KEYS = st.sampled_from(_KNOWN) | _text
_ANYTHING = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(_KEYS, _ANYTHING, max_size=4))
def test_from_table_raises_only_config_error_when_keys_are_known_and_values_arbitrary(table: Any) -> None:
    error = _error_of(lambda: from_table(table, "model.toml"))
    assert error is None or error.source == "model.toml"


@given(st.dictionaries(_KEYS, _text, max_size=4))
def test_apply_overrides_raises_only_config_error_when_text_is_arbitrary(overrides: dict[str, str]) -> None:
    error = _error_of(lambda: apply_overrides(ModelConfig(), overrides))
    assert error is None or error.source == "override"


@given(_configs())
def test_apply_overrides_returns_file_values_when_each_scalar_is_given_as_text(config: ModelConfig) -> None:
    changed = {
        name: "none" if value is None else str(value)
        for name, value in ((name, getattr(config, name)) for name in config.__struct_fields__)
        if name not in ("cache", "sequence") and (value is None or isinstance(value, str | int | float))
    }
    tables = {name: getattr(config, name) for name in config.__struct_fields__ if name not in changed}
    loose = ModelConfig(**{**tables, "priority_levels": config.priority_levels, "max_batch_size": None})
    assert apply_overrides(loose, changed) == config

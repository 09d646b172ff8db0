"""No text makes the parser of config.pbtxt raise anything but ConfigError."""

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from falaj.server.errors import ConfigError
from falaj.server.model_config import ModelConfig
from falaj.server.triton_config import parse_config_pbtxt
from falaj.server.triton_schema import field_names, model_config_class


def _parse(text: str) -> tuple[ModelConfig, list[str]]:
    return parse_config_pbtxt(text, source="config.pbtxt", model_name="m")


def _error_of(call: Callable[[], object]) -> ConfigError | None:
    try:
        call()
    except ConfigError as error:
        return error
    return None


_FIELDS = st.sampled_from(field_names("ModelConfig"))
_MARKS = ["{", "}", "[", "]", ":", ",", "<", ">", ";", "#", '"', "'", "\\", "\n"]
_WORDS = ['"x"', "-1", "8", "0.5", "true", "TYPE_FP32", "KIND_GPU", "key", "value", "name", "dims", "count"]
_PIECES = st.sampled_from(_MARKS + _WORDS)


@given(st.lists(_FIELDS | _PIECES, max_size=40))
def test_parse_raises_only_config_error_when_tokens_are_shuffled(tokens: list[str]) -> None:
    error = _error_of(lambda: _parse(" ".join(tokens)))
    assert error is None or error.source.startswith("config.pbtxt")


@given(st.text())
def test_parse_raises_only_config_error_when_text_is_arbitrary(text: str) -> None:
    error = _error_of(lambda: _parse(text))
    assert error is None or error.source.startswith("config.pbtxt")


@st.composite
def _messages(draw: st.DrawFn, descriptor: Any, depth: int = 0) -> str:
    """A text whose fields exist and whose values have the right type, sensible or not."""
    fields = list(descriptor.fields)
    chosen = draw(st.lists(st.sampled_from(fields), max_size=4 - depth, unique=True)) if fields else []
    parts = []
    for field in chosen:
        if field.message_type is not None and depth < 3:
            parts.append(f"{field.name} {{ {draw(_messages(field.message_type, depth + 1))} }}")
        elif field.enum_type is not None:
            parts.append(f"{field.name}: {draw(st.sampled_from(list(field.enum_type.values_by_name)))}")
        elif field.type == field.TYPE_STRING:
            word = draw(st.sampled_from(["", "x", "m", "1", "python", "onnxruntime", "falaj.n"]))
            parts.append(f'{field.name}: "{word}"')
        elif field.type == field.TYPE_BOOL:
            parts.append(f"{field.name}: {draw(st.sampled_from(['true', 'false']))}")
        elif field.message_type is None:
            parts.append(f"{field.name}: {draw(st.sampled_from([0, 1, 2, 32, 2**31 - 1]))}")
    return " ".join(parts)


@given(st.deferred(lambda: _messages(model_config_class().DESCRIPTOR)))
def test_parse_returns_config_or_config_error_when_fields_are_well_typed(text: str) -> None:
    error = _error_of(lambda: _parse(text))
    assert error is None or error.problem

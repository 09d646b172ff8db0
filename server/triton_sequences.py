"""Triton's `sequence_batching` as the table [sequence]."""

from typing import Any

from falaj.server.errors import ConfigError
from falaj.server.sequence_config import SequenceConfig, SequenceControl, SequenceState
from falaj.server.triton_schema import enum_values

_KINDS: dict[str, Any] = {
    "CONTROL_SEQUENCE_START": "start",
    "CONTROL_SEQUENCE_READY": "ready",
    "CONTROL_SEQUENCE_END": "end",
    "CONTROL_SEQUENCE_CORRID": "id",
}
# Of a control that is told by false and true.
_VALUES = (("int32_false_true", "INT32"), ("fp32_false_true", "FP32"), ("bool_false_true", "BOOL"))
_TYPES: dict[str, Any] = {"TYPE_STRING": "BYTES"}
_IDS = ("TYPE_UINT64", "TYPE_INT64", "TYPE_UINT32", "TYPE_INT32", "TYPE_STRING")
# Triton's own, where the file says none.
_IDLE_MICROSECONDS = 1_000_000
# Folder in the model's for files of initial states.
_INITIAL = "initial_state"
_KEY = "sequence_batching"


def read_sequences(proto: Any) -> SequenceConfig | None:
    """The table that a ModelConfig amounts to; None where it has no sequence_batching. Raises ConfigError."""
    if not proto.HasField("sequence_batching"):
        return None
    batching = proto.sequence_batching
    controls = tuple(
        _control(item, f"{_KEY}.control_input[{index}]") for index, item in enumerate(batching.control_input)
    )
    states = tuple(_state(item, f"{_KEY}.state[{index}]") for index, item in enumerate(batching.state))
    idle = batching.max_sequence_idle_microseconds or _IDLE_MICROSECONDS
    oldest = batching.HasField("oldest")
    try:
        return SequenceConfig(
            strategy="oldest" if oldest else "direct",
            max_candidates=batching.oldest.max_candidate_sequences if oldest else 0,
            idle_timeout_ms=idle / 1000,
            control=controls,
            state=states,
        )
    except ConfigError as error:
        key = error.key.replace("idle_timeout_ms", "max_sequence_idle_microseconds")
        raise ConfigError(error.problem, key=f"{_KEY}.{key}") from error


def _control(item: Any, key: str) -> SequenceControl:
    if len(item.control) != 1:
        raise ConfigError(f"expected one control for an input, got {len(item.control)}", key=f"{key}.control")
    control = item.control[0]
    kind = _KINDS[enum_values("ModelSequenceBatching.Control.Kind")[control.kind]]
    try:
        if kind == "id":
            name = enum_values("DataType")[control.data_type]
            if name not in _IDS:
                raise ConfigError(f"expected one of {', '.join(_IDS)}, got {name}", key="data_type")
            return SequenceControl(item.name, kind, _TYPES.get(name, name.removeprefix("TYPE_")))
        for field, datatype in _VALUES:
            values = list(getattr(control, field))
            if not values:
                continue
            if len(values) != 2:
                raise ConfigError(f"expected two values, got {len(values)}", key=field)
            off, on = float(values[0]), float(values[1])
            return SequenceControl(item.name, kind, datatype, off, on)  # type: ignore[arg-type]
        raise ConfigError("expected int32_false_true, fp32_false_true or bool_false_true", key="")
    except ConfigError as error:
        raise error.within(f"{key}.control[0]") from error


def _state(item: Any, key: str) -> SequenceState:
    initial = list(item.initial_state)
    if len(initial) > 1:
        raise ConfigError(f"expected one initial state, got {len(initial)}", key=f"{key}.initial_state")
    dims = initial[0].dims if initial else item.dims
    name = enum_values("DataType")[item.data_type]
    shape = tuple(max(0, size) for size in dims) if dims else None
    file = f"{_INITIAL}/{initial[0].data_file}" if initial and initial[0].data_file else None
    datatype = None if name == "TYPE_INVALID" else name.removeprefix("TYPE_")
    try:
        return SequenceState(item.input_name, item.output_name, datatype, shape, file)
    except ConfigError as error:
        raise error.within(key) from error

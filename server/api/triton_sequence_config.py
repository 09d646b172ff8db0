"""The table [sequence] as Triton's `sequence_batching`, by the names and in the forms of its JSON."""

from typing import Any

from falaj.server.sequence_config import SequenceConfig, SequenceControl, SequenceState

_KINDS = {
    "start": "CONTROL_SEQUENCE_START",
    "ready": "CONTROL_SEQUENCE_READY",
    "end": "CONTROL_SEQUENCE_END",
    "id": "CONTROL_SEQUENCE_CORRID",
}
_INITIAL = "initial_state/"


def sequence_batching(config: SequenceConfig) -> dict[str, Any]:
    """Return what parse_config_json reads as `config`, but for max_sequences and max_state_mb, which Triton
    has not, and for initial files outside of the folder initial_state."""
    strategy = {"max_candidate_sequences": config.max_candidates} if config.max_candidates else {}
    return {
        config.strategy: strategy,
        "max_sequence_idle_microseconds": round(config.idle_timeout_ms * 1000),
        "control_input": [_control(control) for control in config.control],
        "state": [_state(state) for state in config.state],
    }


def _control(control: SequenceControl) -> dict[str, Any]:
    told: dict[str, Any] = {"kind": _KINDS[control.kind]}
    if control.kind == "id":
        told["data_type"] = _data_type(control.datatype or "UINT64")
    elif control.datatype == "BOOL":
        told["bool_false_true"] = [bool(control.off), bool(control.on)]
    elif control.datatype == "INT32":
        told["int32_false_true"] = [int(control.off), int(control.on)]
    else:
        told["fp32_false_true"] = [control.off, control.on]
    return {"name": control.name, "control": [told]}


def _state(state: SequenceState) -> dict[str, Any]:
    told: dict[str, Any] = {"input_name": state.input, "output_name": state.output}
    if state.datatype is not None:
        told["data_type"] = _data_type(state.datatype)
    if state.shape is not None:
        told["dims"] = list(state.shape)
    if state.initial_file is not None and state.initial_file.startswith(_INITIAL):
        initial: dict[str, Any] = {"data_file": state.initial_file.removeprefix(_INITIAL)}
        told["initial_state"] = [initial | {key: told[key] for key in ("data_type", "dims") if key in told}]
    return told


def _data_type(datatype: str) -> str:
    return "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"

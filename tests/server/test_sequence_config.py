"""Triton's sequence_batching, read and told."""

import json
import re

import pytest

from falaj.server.api.triton_sequence_config import sequence_batching
from falaj.server.errors import ConfigError
from falaj.server.sequence_config import SequenceConfig, SequenceControl, SequenceState
from falaj.server.triton_config import parse_config_json, parse_config_pbtxt

_FULL = """
max_batch_size: 8
sequence_batching {
  max_sequence_idle_microseconds: 5000000
  oldest { max_candidate_sequences: 4 preferred_batch_size: [ 2 ] }
  control_input { name: "START" control { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } }
  control_input { name: "READY" control { kind: CONTROL_SEQUENCE_READY fp32_false_true: [ -1, 1 ] } }
  control_input { name: "END" control { kind: CONTROL_SEQUENCE_END bool_false_true: [ false, true ] } }
  control_input { name: "ID" control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_STRING } }
  state {
    input_name: "in" output_name: "out" data_type: TYPE_FP32 dims: [ 4, 2 ]
    initial_state { data_type: TYPE_FP32 dims: [ 4, 2 ] data_file: "first" }
  }
  state {
    input_name: "n" output_name: "m" data_type: TYPE_INT32 dims: [ -1 ]
    initial_state { data_type: TYPE_INT32 dims: [ 1 ] zero_data: true }
  }
}
"""
_READ = SequenceConfig(
    strategy="oldest",
    max_candidates=4,
    idle_timeout_ms=5000,
    control=(
        SequenceControl("START", "start", "INT32", 0, 1),
        SequenceControl("READY", "ready", "FP32", -1, 1),
        SequenceControl("END", "end", "BOOL", 0, 1),
        SequenceControl("ID", "id", "BYTES"),
    ),
    state=(
        SequenceState("in", "out", "FP32", (4, 2), "initial_state/first"),
        SequenceState("n", "m", "INT32", (1,)),
    ),
)


def _parse(text: str) -> tuple[SequenceConfig | None, list[str]]:
    config, warnings = parse_config_pbtxt(text, source="config.pbtxt", model_name="m")
    return config.sequence, warnings


def test_sequence_batching_is_mapped_when_it_is_whole() -> None:
    read, warnings = _parse(_FULL)
    assert read == _READ
    assert [warning for warning in warnings if "preferred_batch_size is ignored" in warning]


def test_sequence_batching_reads_as_it_was_when_it_is_told() -> None:
    told = json.dumps({"max_batch_size": 8, "sequence_batching": sequence_batching(_READ)})
    config, _ = parse_config_json(told, source="request", model_name="m")
    assert config.sequence == _READ


def test_strategy_is_direct_and_idleness_ends_after_a_second_when_nothing_is_said() -> None:
    assert _parse("sequence_batching { }")[0] == SequenceConfig(strategy="direct", idle_timeout_ms=1000)
    assert _parse("sequence_batching { direct { } }")[0] == SequenceConfig("direct", idle_timeout_ms=1000)
    assert _parse("max_batch_size: 1")[0] is None


@pytest.mark.parametrize(
    ("inner", "why"),
    [
        ('control_input { name: "a" }', "control_input[0].control: expected one control for an input, got 0"),
        ('control_input { name: "a" control { } }', "control_input[0].control[0]"),
        ('control_input { name: "a" control { int32_false_true: [ 1 ] } }', "expected two values, got 1"),
        (
            'control_input { name: "a" control { int32_false_true: [ 1, 1 ] } }',
            "expected another value than `off`",
        ),
        ("control_input { control { int32_false_true: [ 0, 1 ] } }", "expected a tensor's name"),
        (
            'control_input { name: "a" control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_FP64 } }',
            "TYPE_STRING, got TYPE_FP64",
        ),
        ('state { input_name: "a" }', "state[0]"),
        ('state { input_name: "a" output_name: "b" } state { input_name: "a" output_name: "c" }', "state[1]"),
        ('state { input_name: "a" output_name: "b" initial_state { data_file: "../x" } }', "initial_file"),
        (
            'state { input_name: "a" output_name: "b" initial_state { } initial_state { } }',
            "one initial state",
        ),
        ("iterative_sequence: true", "not supported yet"),
    ],
)
def test_sequence_batching_is_refused_when_it_is_wrong(inner: str, why: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(why)):
        _parse(f"sequence_batching {{ {inner} }}")

from collections.abc import Iterator
from typing import Any

import pytest

from falaj.server.errors import ConfigError
from falaj.server.triton_config import parse_config_pbtxt
from falaj.server.triton_coverage import IGNORED, MAPPED, REFUSED
from falaj.server.triton_schema import model_config_class


def _warnings(text: str) -> list[str]:
    return parse_config_pbtxt(text, source="config.pbtxt", model_name="m")[1]


_X = 'input { name: "x" data_type: TYPE_FP32 dims: [ -1, 32 ] '


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("sequence_batching { iterative_sequence: true }", "sequence_batching.iterative_sequence"),
        (
            'ensemble_scheduling { step { model_namespace: "n" } }',
            "ensemble_scheduling.step[0].model_namespace",
        ),
        ("batch_input { }", "batch_input"),
        ("batch_output { }", "batch_output"),
        (_X + "reshape { shape: [ ] } }", "input[0].reshape"),
        ('output { name: "y" reshape { } }', "output[0].reshape"),
        (_X + "allow_ragged_batch: true }", "input[0].allow_ragged_batch"),
        (_X + "is_shape_tensor: true }", "input[0].is_shape_tensor"),
        ('output { name: "y" is_shape_tensor: true }', "output[0].is_shape_tensor"),
        (
            'model_warmup { inputs { key: "x" value { input_data_file: "f" } } }',
            "model_warmup[0].inputs['x'].input_data_file",
        ),
        ("model_repository_agents { }", "model_repository_agents"),
        ('model_operations { op_library_filename: "a.so" }', "model_operations"),
    ],
)
def test_parse_refuses_field_when_answers_would_differ(text: str, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _warnings(text)
    assert caught.value.key == key
    assert caught.value.problem.startswith("not supported yet: ")


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (
            "dynamic_batching { max_queue_delay_microseconds: 100 }",
            "dynamic_batching.max_queue_delay_microseconds",
        ),
        ("dynamic_batching { preferred_batch_size: [ 4, 8 ] }", "dynamic_batching.preferred_batch_size"),
        ("dynamic_batching { preserve_ordering: true }", "dynamic_batching.preserve_ordering"),
        (_X + "optional: true }", "input[0].optional"),
        (_X + "format: FORMAT_NCHW }", "input[0].format"),
        ('metric_tags { key: "a" value: "b" }', "metric_tags"),
        ('cc_model_filenames { key: "8.0" value: "a.onnx" }', "cc_model_filenames"),
        ("instance_group { count: 1 host_policy: 'a' }", "instance_group[0].host_policy"),
        ("instance_group { kind: KIND_AUTO }", "instance_group[0].kind"),
        ("optimization { cuda { graphs: true } }", "optimization.cuda"),
        ("optimization { eager_batching: true }", "optimization.eager_batching"),
    ],
)
def test_parse_warns_once_and_says_what_happens_when_field_is_ignored(text: str, field: str) -> None:
    warnings = _warnings(text)
    assert len(warnings) == 1
    assert warnings[0].startswith(f"config.pbtxt: {field} ")
    assert len(warnings[0].partition(": ")[2].partition(": ")[2]) > 10 or "means the CPU" in warnings[0]


@pytest.mark.parametrize(
    "text",
    [
        "model_transaction_policy { decoupled: false }",
        "response_cache { enable: false }",
        "dynamic_batching { preserve_ordering: false max_queue_delay_microseconds: 0 }",
        _X + "optional: false allow_ragged_batch: false format: FORMAT_NONE }",
    ],
)
def test_parse_is_silent_when_unsupported_field_has_its_default(text: str) -> None:
    assert _warnings(text) == []


def _paths(descriptor: Any, prefix: str = "") -> Iterator[str]:
    """Every leaf of the schema, as the tables of triton_coverage spell it."""
    for field in descriptor.fields:
        path = f"{prefix}{field.name}"
        inner = field.message_type
        if inner is not None and inner.GetOptions().map_entry:
            inner = inner.fields_by_name["value"].message_type
        if inner is None or not inner.fields:
            yield path
        else:
            yield from _paths(inner, f"{path}.")


def test_coverage_decides_every_field_once_when_schema_is_walked() -> None:
    decided = {*MAPPED, *IGNORED, *REFUSED}
    assert len(decided) == len(MAPPED) + len(IGNORED) + len(REFUSED)
    leaves = list(_paths(model_config_class().DESCRIPTOR))
    for leaf in leaves:
        parts = leaf.split(".")
        found = {".".join(parts[:end]) for end in range(1, len(parts) + 1)} & decided
        assert len(found) == 1, f"{leaf}: {found or 'no table has it'}"
    assert all(any(f"{leaf}.".startswith(f"{path}.") for leaf in leaves) for path in decided)

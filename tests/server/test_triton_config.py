import re
from pathlib import Path
from typing import Any

import pytest

from falaj.server.errors import ConfigError
from falaj.server.model_config import (
    InputConfig,
    ModelConfig,
    OutputConfig,
    Provider,
    QueuePolicy,
    VersionPolicy,
    Warmup,
    WarmupInput,
)
from falaj.server.triton_config import load_config_pbtxt, parse_config_pbtxt
from falaj.server.triton_coverage import IGNORED, REFUSED
from falaj.server.triton_schema import field_names, model_config_class


def _parse(text: str) -> tuple[ModelConfig, list[str]]:
    return parse_config_pbtxt(text, source="config.pbtxt", model_name="m")


def _parameter(name: str, value: str) -> str:
    return f'parameters {{ key: "{name}" value {{ string_value: "{value}" }} }}'


def _tensorrt(name: str, value: str) -> str:
    option = f'{{ name: "tensorrt" parameters {{ key: "{name}" value: "{value}" }} }}'
    return f"optimization {{ execution_accelerators {{ gpu_execution_accelerator {option} }} }}"


_GPU = "optimization.execution_accelerators.gpu_execution_accelerator"
_WARMUP = "model_warmup[0]"
_LEVELS = "priority_levels: 257 default_priority_level: 1"
_X = 'input { name: "x" data_type: TYPE_FP32 dims: [ -1, 32 ] '


def test_parse_returns_defaults_without_warnings_when_file_is_empty() -> None:
    assert _parse("") == (ModelConfig(), [])


def test_parse_maps_tensors_with_batch_dimension_when_max_batch_size_is_positive() -> None:
    config, warnings = _parse(
        """
        name: "m"
        platform: "onnxruntime_onnx"
        max_batch_size: 8
        input [ { name: "x" data_type: TYPE_FP32 dims: [ 32 ] }, { name: "ids" data_type: TYPE_INT64 } ]
        output [ { name: "y" data_type: TYPE_STRING dims: [ -1, 2 ] } ]
        dynamic_batching { }
        """
    )
    assert config == ModelConfig(
        backend="onnxruntime",
        max_batch_size=8,
        input=(InputConfig("x", "FP32", (-1, 32)), InputConfig("ids", "INT64", None)),
        output=(OutputConfig("y", "BYTES", (-1, -1, 2)),),
    )
    assert warnings == []


@pytest.mark.parametrize(("line", "expected"), [("", None), ("max_batch_size: 0", 0)])
def test_parse_keeps_dims_as_shape_when_max_batch_size_is_not_positive(
    line: str, expected: int | None
) -> None:
    config, warnings = _parse(f"{line} {_X} }}")
    assert config == ModelConfig(max_batch_size=expected, input=(InputConfig("x", "FP32", (-1, 32)),))
    assert warnings == []


def test_parse_warns_that_it_batches_when_dynamic_batching_is_absent() -> None:
    config, warnings = _parse("max_batch_size: 4")
    assert config.max_batch_size == 4
    assert warnings == [
        "config.pbtxt: dynamic_batching is absent: Falaj batches requests together all the same, "
        "which delays none"
    ]


@pytest.mark.parametrize(
    ("triton", "datatype"),
    [("BOOL", "BOOL"), ("UINT8", "UINT8"), ("FP16", "FP16"), ("BF16", "BF16"), ("STRING", "BYTES")],
)
def test_parse_names_datatype_by_v2_when_triton_names_it(triton: str, datatype: str) -> None:
    config, _ = _parse(f'output {{ name: "y" data_type: TYPE_{triton} }}')
    assert config.output[0].datatype == datatype


def test_parse_maps_priorities_and_queue_policies_when_dynamic_batching_has_them() -> None:
    config, warnings = _parse(
        """
        dynamic_batching {
          priority_levels: 3
          default_priority_level: 2
          default_queue_policy {
            timeout_action: REJECT default_timeout_microseconds: 1500 max_queue_size: 10
          }
          priority_queue_policy { key: 1 value { allow_timeout_override: true } }
          priority_queue_policy { key: 3 value { default_timeout_microseconds: 2000000 } }
        }
        """
    )
    assert config == ModelConfig(
        priority_levels=3,
        default_priority=2,
        max_queue_requests=10,
        default_timeout_ms=1.5,
        allow_timeout_override=False,
        priority_policy={1: QueuePolicy(0, None, True), 3: QueuePolicy(0, 2000.0, False)},
    )
    assert warnings == []


def test_parse_warns_and_drops_timeout_when_action_is_delay() -> None:
    config, warnings = _parse(
        "dynamic_batching { default_queue_policy { timeout_action: DELAY default_timeout_microseconds: 5 } }"
    )
    assert config.queue_policy(1) == QueuePolicy(0, None, False)
    assert ["DELAY" in warning for warning in warnings] == [True]


@pytest.mark.parametrize(
    ("text", "instances", "providers"),
    [
        ("instance_group { count: 3 kind: KIND_CPU }", 3, ()),
        ("instance_group [ { count: 3 }, { kind: KIND_CPU }, { count: 9 passive: true } ]", 4, ()),
        ("instance_group { kind: KIND_CPU }", "auto", ()),
        ("instance_group { kind: KIND_GPU }", "auto", (Provider("cuda"),)),
        ("instance_group { kind: KIND_GPU gpus: [ 1, 2 ] }", "auto", (Provider("cuda", {"device_id": "1"}),)),
    ],
)
def test_parse_sums_instances_and_names_provider_when_groups_are_given(
    text: str, instances: object, providers: object
) -> None:
    config, _ = _parse(text)
    assert (config.instances, config.provider) == (instances, providers)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", VersionPolicy()),
        ("latest { num_versions: 2 }", VersionPolicy("latest", 2)),
        ("latest { }", VersionPolicy("latest", 1)),
        ("all { }", VersionPolicy("all")),
        ("specific { versions: [ 1, 3 ] }", VersionPolicy("specific", list=(1, 3))),
    ],
)
def test_parse_maps_version_policy_when_given(text: str, expected: VersionPolicy) -> None:
    config, warnings = _parse(f"version_policy: {{ {text} }}")
    assert (config.versions, warnings) == (expected, [])


def test_parse_maps_warmup_when_data_is_zero_or_random() -> None:
    config, warnings = _parse(
        """
        max_batch_size: 8
        dynamic_batching { }
        model_warmup [ {
          name: "w" batch_size: 4 count: 2
          inputs { key: "x" value { data_type: TYPE_FP32 dims: [ 32 ] random_data: true } }
          inputs { key: "n" value { data_type: TYPE_INT64 dims: [ 1 ] zero_data: true } }
        }, { } ]
        """
    )
    inputs = {"n": WarmupInput((1,)), "x": WarmupInput((32,), "random")}
    assert config.warmup == (Warmup("w", 4, 2, inputs), Warmup("warmup 1"))
    assert warnings == []


@pytest.mark.parametrize(("level", "name"), [(-1, "basic"), (0, "all"), (1, "extended"), (2, "disable")])
def test_parse_maps_graph_level_when_known(level: int, name: str) -> None:
    assert _parse(f"optimization {{ graph {{ level: {level} }} }}")[0].graph_optimization == name


def test_parse_orders_providers_when_tensorrt_accelerates() -> None:
    config, warnings = _parse(
        """
        instance_group { kind: KIND_GPU gpus: [ 0 ] }
        optimization { execution_accelerators { gpu_execution_accelerator [ {
          name: "tensorrt"
          parameters { key: "precision_mode" value: "FP16" }
          parameters { key: "max_workspace_size_bytes" value: "1073741824" }
          parameters { key: "trt_engine_cache_enable" value: "1" }
        } ] } }
        """
        + _parameter("cudnn_conv_algo_search", "1")
    )
    tensorrt = {
        "device_id": "0",
        "trt_fp16_enable": "1",
        "trt_max_workspace_size": "1073741824",
        "trt_engine_cache_enable": "1",
    }
    cuda = {"device_id": "0", "cudnn_conv_algo_search": "HEURISTIC"}
    assert config.provider == (Provider("tensorrt", tensorrt), Provider("cuda", cuda))
    assert warnings == []


def test_parse_names_openvino_when_cpu_is_accelerated() -> None:
    config, _ = _parse(
        'optimization { execution_accelerators { cpu_execution_accelerator { name: "openvino" } } }'
    )
    assert config.provider == (Provider("openvino"),)


def test_parse_ignores_gpu_accelerator_with_warning_when_all_groups_are_cpu() -> None:
    config, warnings = _parse(
        "instance_group { kind: KIND_CPU }"
        'optimization { execution_accelerators { gpu_execution_accelerator { name: "tensorrt" } } }'
    )
    assert config.provider == ()
    assert ["no instance_group is KIND_GPU" in warning for warning in warnings] == [True]


def test_parse_sorts_parameters_when_model_is_onnx() -> None:
    config, warnings = _parse(
        'backend: "onnxruntime"'
        + _parameter("intra_op_thread_count", "2")
        + _parameter("execution_mode", "0")
        + _parameter("session.intra_op.allow_spinning", "0")
        + _parameter("falaj.slo_ms", "50")
    )
    session = {"session.intra_op.allow_spinning": "0"}
    assert config == ModelConfig(backend="onnxruntime", threads=2, session=session, slo_ms=50.0)
    assert warnings == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("execution_mode", "1"),
        ("inter_op_thread_count", "2"),
        ("enable_mem_arena", "0"),
        ("enable_mem_pattern", "0"),
        ("memory.enable_memory_arena_shrinkage", "cpu:0"),
        ("gpu_mem_limit", "1"),
        ("made_up", "1"),
    ],
)
def test_parse_warns_when_onnx_parameter_has_no_home(name: str, value: str) -> None:
    _, warnings = _parse('backend: "onnxruntime"' + _parameter(name, value))
    assert [name in warning and "ignored" in warning for warning in warnings] == [True]


def test_parse_hands_parameters_to_model_when_backend_is_python() -> None:
    config, warnings = _parse('backend: "python" default_model_filename: "m.py"' + _parameter("a", "1"))
    assert config == ModelConfig(backend="python", model_filename="m.py", parameters={"a": "1"})
    assert ["TritonPythonModel" in warning for warning in warnings] == [True]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('backend: "python" optimization { graph { level: 1 } }', "optimization.graph.level is ignored"),
        ('backend: "python" instance_group { kind: KIND_GPU }', "python models choose a device"),
        ('backend: "python"' + _parameter("EXECUTION_ENV_PATH", "e"), "it runs in the server's Python"),
        ("instance_group { kind: KIND_GPU gpus: [ 1, 2 ] }", "only GPU 1 is used"),
        ("instance_group [ { kind: KIND_GPU }, { kind: KIND_CPU } ]", "all instances try the GPU first"),
    ],
)
def test_parse_warns_when_device_or_runtime_is_chosen_otherwise(text: str, says: str) -> None:
    assert [says in warning for warning in _parse(text)[1]].count(True) == 1


# What a message must say whatever else it says.
_NAMES = {
    "input": 'name: "x" ',
    "output": 'name: "x" ',
    "state": 'input_name: "x" output_name: "y" ',
}


def _setting(path: str) -> str:
    """Return a text that sets one field of the schema to something else than its default."""
    descriptor: Any = model_config_class().DESCRIPTOR
    opened, (*outer, last) = "", path.split(".")
    for name in outer:
        descriptor = descriptor.fields_by_name[name].message_type
        opened += f"{name} {{ {_NAMES.get(name, '')}"
        if descriptor.GetOptions().map_entry:
            descriptor = descriptor.fields_by_name["value"].message_type
            opened += 'key: "x" value { '
    field = descriptor.fields_by_name[last]
    value = {field.TYPE_STRING: ': "s"', field.TYPE_BOOL: ": true", field.TYPE_MESSAGE: " { }"}
    return opened + last + value.get(field.type, ": 1") + " }" * opened.count("{")


# What belongs to ensembles is tested with them (test_pipelines_served.py).
@pytest.mark.parametrize("path", sorted(path for path in IGNORED if not path.startswith("ensemble_")))
def test_parse_warns_and_says_what_happens_instead_when_ignored_field_is_set(path: str) -> None:
    _, warnings = _parse(_setting(path))
    assert [warning.endswith(f" is ignored: {IGNORED[path]}") for warning in warnings].count(True) == 1


@pytest.mark.parametrize("path", sorted(REFUSED))
def test_parse_raises_and_says_what_is_missing_when_refused_field_is_set(path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _parse(_setting(path))
    assert caught.value.problem == f"not supported yet: {REFUSED[path]}"


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ("max_batch", "1:1", "unknown field 'max_batch' of ModelConfig; did you mean 'max_batch_size'?"),
        ('\ninput {\n  nme: "x"\n}', "3:3", "unknown field 'nme' of ModelInput; did you mean 'name'?"),
        ("input {data_type: TYPE_FLT32", "1:19", "unknown DataType TYPE_FLT32; did you mean 'TYPE_FP32'?"),
        (
            "\n instance_group { kind: KIND_CPUS }",
            "2:25",
            "unknown ModelInstanceGroup.Kind KIND_CPUS; did you mean 'KIND_CPU'?",
        ),
        ("parameters{kye", "1:12", "unknown field 'kye' of ModelConfig.ParametersEntry; did you mean 'key'?"),
        ('max_batch_size: "8"', "1:17", 'Couldn\'t parse integer: "8"'),
        ("max_batch_size: 1\nmax_batch_size: 2", "2:17", None),
        ("dynamic_batching { }\nsequence_batching { }", "2:1", None),
        ("name: m", "1:7", None),
        ("input {", None, None),
        ("max_batch_size: " + "9" * 5000, "1:17", None),
        ("m" * 100_000, "1:1", None),
        ("\x00", "1:1", None),
        (r'name: "\xff"', None, None),
    ],
)
def test_parse_names_line_and_column_when_text_is_wrong(
    text: str, place: str | None, problem: str | None
) -> None:
    with pytest.raises(ConfigError) as caught:
        _parse(text)
    assert re.fullmatch(r"config\.pbtxt:\d+:\d+", caught.value.source)
    assert place is None or caught.value.source == f"config.pbtxt:{place}"
    assert problem is None or caught.value.problem == problem
    assert len(caught.value.problem) < 1000


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('name: "other"', "name"),
        ('platform: "tensorflow_savedmodel"', "platform"),
        ('backend: "tensorrt"', "backend"),
        ('platform: "onnxruntime_onnx" backend: "python"', "backend"),
        ("max_batch_size: -1", "max_batch_size"),
        ("input { }", "input[0].name"),
        (_X + "}" + _X + "}", "input[1].name"),
        ('input { name: "x" data_type: TYPE_INVALID }', "input[0].data_type"),
        ('input { name: "x" dims: [ 1, 0 ] }', "input[0].dims[1]"),
        ('output { name: "x" dims: [ -2 ] }', "output[0].dims[0]"),
        ("version_policy { specific { } }", "version_policy.specific.versions"),
        ("version_policy { specific { versions: [ 1, 0 ] } }", "version_policy.specific.versions[1]"),
        ("version_policy { latest { num_versions: 3000000000 } }", "version_policy.latest.num_versions"),
        ("instance_group [ { count: 2147483647 }, { } ]", "instance_group.count"),
        ("instance_group { count: -1 }", "instance_group[0].count"),
        ("instance_group { kind: KIND_GPU gpus: [ -1 ] }", "instance_group[0].gpus"),
        ("instance_group { kind: KIND_CPU gpus: [ 0 ] }", "instance_group[0].gpus"),
        ("optimization { graph { level: 3 } }", "optimization.graph.level"),
        ("dynamic_batching { priority_levels: 2 }", "dynamic_batching.default_priority_level"),
        ("dynamic_batching {priority_queue_policy {key: 2}}", "dynamic_batching.priority_queue_policy[2]"),
        ("dynamic_batching{" + _LEVELS + "}", "dynamic_batching.priority_levels"),
        (
            "dynamic_batching { default_queue_policy { default_timeout_microseconds: 2000000000000000 } }",
            "dynamic_batching.default_queue_policy.default_timeout_microseconds",
        ),
        ('default_model_filename: "../model.onnx"', "default_model_filename"),
        ("max_batch_size: 4 model_warmup { batch_size: 5 }", "model_warmup[0].batch_size"),
        (_parameter("falaj.max_batch_size", "4") + "model_warmup{batch_size:5}", f"{_WARMUP}.batch_size"),
        ("model_warmup { batch_size: 3000000000 }", "model_warmup[0].batch_size"),
        (_X + '}model_warmup{inputs{key:"x"value{data_type:TYPE_FP64}}}', f"{_WARMUP}.inputs['x'].data_type"),
        (_tensorrt("a", "1").replace("tensorrt", "tensorRTX"), f"{_GPU}[0].name"),
        (_tensorrt("made_up", "1"), f"{_GPU}.parameters['made_up']"),
        (_tensorrt("precision_mode", "FP8"), f"{_GPU}.parameters['precision_mode']"),
        (_parameter("intra_op_thread_count", "two"), "parameters['intra_op_thread_count']"),
        (_parameter("falaj.slo", "50"), "parameters['falaj.slo']"),
        (_parameter("falaj.slo_ms", "-1"), "parameters['falaj.slo_ms']"),
    ],
)
def test_parse_names_key_when_value_cannot_be(text: str, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _parse(text)
    assert (caught.value.source, caught.value.key) == ("config.pbtxt", key)


def test_schema_returns_same_class_when_asked_twice() -> None:
    assert model_config_class() is model_config_class()
    assert field_names("ModelParameter") == ["string_value"]


def test_load_config_pbtxt_returns_config_when_name_is_the_folders(tmp_path: Path) -> None:
    path = tmp_path / "config.pbtxt"
    path.write_text('name: "fraud"\nmax_batch_size: 0\n', encoding="utf-8")
    assert load_config_pbtxt(path, "fraud") == (ModelConfig(max_batch_size=0), [])
    assert load_config_pbtxt(path) == (ModelConfig(max_batch_size=0), [])
    with pytest.raises(ConfigError, match=r"name: expected the model's name 'm', got 'fraud'"):
        load_config_pbtxt(path, "m")


@pytest.mark.parametrize("content", [None, b"\xff"])
def test_load_config_pbtxt_names_file_when_it_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "config.pbtxt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"config\.pbtxt: cannot be read"):
        load_config_pbtxt(path)

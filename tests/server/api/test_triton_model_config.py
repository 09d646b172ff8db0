"""The configuration that is told is what the model does, and can be given back."""

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from tritonclient.grpc.model_config_pb2 import ModelConfig as TritonModelConfig

import falaj
from falaj.server.api.control_plane import ControlPlane
from tests import zoo
from tests.serving import ECHO, QUICK, X_TO_Y, add_model, add_python

pytestmark = pytest.mark.core

_EVERYTHING = """
max_batch_size = 6
instances = 2
threads = 1
tune_ms = 0
slo_ms = 250.5
max_queue_rows = 99
max_queue_requests = 7
default_timeout_ms = 1500
allow_timeout_override = false
priority_levels = 3
default_priority = 2
run_on_submitter = false
drain_seconds = 2.5
graph_optimization = "basic"
versions = { policy = "specific", list = [1] }

[priority_policy.1]
max_queue_requests = 3
default_timeout_ms = 0.25
allow_timeout_override = true

[session]
"session.disable_prepacking" = "1"

[parameters]
"my key" = "a value"

[[output]]
name = "y"
label_filename = "labels.txt"

[[warmup]]
name = "three"
rows = 3
count = 2
inputs = { x = { shape = [32], fill = "random" } }
"""


def _config(engine: falaj.Engine, name: str) -> dict[str, Any]:
    return ControlPlane(engine).model_config(name, None)


def _assert_given_back(engine: falaj.Engine, name: str, *, by_grpc: bool = True) -> dict[str, Any]:
    """Loading the model with its own configuration changes nothing; Triton's message takes all of it."""
    control = ControlPlane(engine)
    told = control.model_config(name, None)
    message = json_format.ParseDict(told, TritonModelConfig())
    assert message.name == name
    control.load(name, {"config": json.dumps(told)})
    assert control.model_config(name, None) == told
    if by_grpc:  # its clients have it as a message, which they write as JSON
        text = json_format.MessageToJson(message, preserving_proto_field_name=True)
        control.load(name, {"config": text})
        assert control.model_config(name, None) == told
    return told


@pytest.mark.parametrize(
    "model",
    [zoo.mlp, zoo.tokens, zoo.no_batch, zoo.transformer_encoder, zoo.scalar_output],
    ids=lambda make: make.__name__,
)
def test_config_is_given_back_when_the_model_has_none_of_its_own(models: Path, model: Any) -> None:
    made = model()
    add_model(models, made, QUICK)
    with falaj.Engine(models, cores=2, strict=True) as engine:
        told = _assert_given_back(engine, made.name)
        described = engine.describe(made.name)
    rows = described["max_batch_size"]
    assert told["max_batch_size"] == rows
    for kind in ("input", "output"):
        for tensor, real in zip(told[kind], described[f"{kind}s"], strict=True):
            assert tensor["name"] == real["name"]
            assert tensor["dims"] == (real["shape"][1:] if rows else real["shape"])
    assert ("dynamic_batching" in told) == (rows > 0)
    assert told["instance_group"][0]["count"] == described["instances"]
    assert told["parameters"]["intra_op_thread_count"] == {"string_value": str(described["threads"])}


def test_config_is_given_back_when_everything_is_set(models: Path) -> None:
    folder = add_model(models, zoo.mlp(), _EVERYTHING)
    (folder.parent / "labels.txt").write_text("no\nyes\n")
    with falaj.Engine(models, cores=2, strict=True) as engine:
        told = _assert_given_back(engine, "mlp")
    assert told == {
        "name": "mlp",
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "version_policy": {"specific": {"versions": [1]}},
        "max_batch_size": 6,
        "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [32]}],
        "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [2], "label_filename": "labels.txt"}],
        "instance_group": [{"name": "mlp", "kind": "KIND_CPU", "count": 2}],
        "default_model_filename": "model.onnx",
        "parameters": {
            "my key": {"string_value": "a value"},
            "intra_op_thread_count": {"string_value": "1"},
            "session.disable_prepacking": {"string_value": "1"},
            "falaj.tune_ms": {"string_value": "0"},
            "falaj.slo_ms": {"string_value": "250.5"},
            "falaj.max_queue_rows": {"string_value": "99"},
            "falaj.run_on_submitter": {"string_value": "false"},
            "falaj.drain_seconds": {"string_value": "2.5"},
        },
        "model_warmup": [
            {
                "name": "three",
                "batch_size": 3,
                "count": 2,
                "inputs": {"x": {"data_type": "TYPE_FP32", "dims": [32], "random_data": True}},
            }
        ],
        "dynamic_batching": {
            "max_queue_delay_microseconds": 0,
            "default_queue_policy": {
                "timeout_action": "REJECT",
                "default_timeout_microseconds": 1_500_000,
                "allow_timeout_override": False,
                "max_queue_size": 7,
            },
            "priority_levels": 3,
            "default_priority_level": 2,
            "priority_queue_policy": {
                "1": {
                    "timeout_action": "REJECT",
                    "default_timeout_microseconds": 250,
                    "allow_timeout_override": True,
                    "max_queue_size": 3,
                }
            },
        },
        "optimization": {"graph": {"level": -1}},
    }


def test_config_is_given_back_when_the_model_is_written_in_python(models: Path) -> None:
    head = 'max_batch_size = 4\npython_class = "Other"\ninstances = 3\nparameters = { depth = "2" }'
    add_python(models, "py", ECHO.replace("Model", "Other"), head=head)
    with falaj.Engine(models, cores=1, strict=True) as engine:
        told = _assert_given_back(engine, "py")
    assert (told["platform"], told["backend"]) == ("", "python")
    assert told["default_model_filename"] == "model.py"
    assert told["instance_group"] == [{"name": "py", "kind": "KIND_CPU", "count": 3}]
    assert told["parameters"] == {
        "depth": {"string_value": "2"},
        "falaj.python_class": {"string_value": "Other"},
    }
    assert "optimization" not in told


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        ('{ policy = "latest", n = 2 }', {"latest": {"num_versions": 2}}),
        ('{ policy = "all" }', {"all": {}}),
    ],
)
def test_version_policy_is_told_when_set(models: Path, policy: str, told: dict[str, Any]) -> None:
    add_python(models, "py", head=f"versions = {policy}", tensors=X_TO_Y)
    with falaj.Engine(models, cores=1, strict=True) as engine:
        assert _assert_given_back(engine, "py")["version_policy"] == told


def test_queue_is_told_when_a_model_that_never_batches_has_one(models: Path) -> None:
    add_python(models, "alone", head="max_batch_size = 0\ndefault_timeout_ms = 5")
    with falaj.Engine(models, cores=1, strict=True) as engine:
        # A message's JSON leaves out a 0, and no max_batch_size means: find out.
        told = _assert_given_back(engine, "alone", by_grpc=False)
    policy = told["dynamic_batching"]["default_queue_policy"]
    assert policy["default_timeout_microseconds"] == 5000


def test_device_is_that_of_the_run_when_the_wanted_one_is_not_there(models: Path) -> None:
    add_model(models, zoo.mlp(), f'{QUICK}[[provider]]\nname = "cuda"\noptions = {{ device_id = "1" }}\n')
    with falaj.Engine(models, cores=1, strict=True) as engine:
        placed_on_gpu = "CUDA" in engine.describe("mlp")["placement"]
        [group] = _config(engine, "mlp")["instance_group"]
    wanted = {"kind": "KIND_GPU", "gpus": [1]} if placed_on_gpu else {"kind": "KIND_CPU"}
    assert group == {"name": "mlp", "count": 1, **wanted}

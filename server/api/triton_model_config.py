"""A loaded version as Triton's ModelConfig, by the names and in the forms of its JSON.

It says what the model does, not what was asked for: the choices that were made at load stand where a file
may say `auto`. What Triton has no field for stands among the parameters, under `falaj.` and the key of
model.toml, so that loading a model with this very configuration changes nothing. Three things have no form in
Triton's message and are left out: padding (`pad_axis`, `mask`, `unpad_axis`), the types of a Python
model's parameters, which are all text here, and how much a response cache keeps and for how long.
"""

from typing import Any

from falaj.server.api.triton_sequence_config import sequence_batching
from falaj.server.loader import LoadedVersion
from falaj.server.model_config import ModelConfig, OutputConfig, Provider, QueuePolicy, Warmup
from falaj.server.pipeline_config import PipelineConfig, graph_of
from falaj.server.tensors import Tensor

_GRAPH_LEVELS = {"basic": -1, "all": 0, "extended": 1, "disable": 2}
_ACCELERATORS = {
    "TensorrtExecutionProvider": ("gpu_execution_accelerator", "tensorrt"),
    "CUDAExecutionProvider": ("gpu_execution_accelerator", "cuda"),
    "OpenVINOExecutionProvider": ("cpu_execution_accelerator", "openvino"),
}
_UINT32_MAX = 2**32 - 1
_GPU_PROVIDERS = ("TensorrtExecutionProvider", "CUDAExecutionProvider")
# Keys of model.toml without a field of Triton's.
_OWN_KEYS = ("tune_ms", "slo_ms", "max_queue_rows", "run_on_submitter", "drain_seconds", "python_class")


def triton_model_config(loaded: LoadedVersion) -> dict[str, Any]:
    """Return the configuration of a version in service."""
    config, rows = loaded.config, loaded.choice.max_batch_size
    graph = graph_of(config)
    if graph is not None:
        return _ensemble(loaded, graph)
    is_python = loaded.platform == "python"
    labels = {output.name: output for output in config.output}
    answer: dict[str, Any] = {
        "name": loaded.name,
        "platform": "" if is_python else loaded.platform,  # Triton has none for Python models either
        "backend": "python" if is_python else "onnxruntime",
        "version_policy": _version_policy(config),
        "max_batch_size": rows,
        "input": [_tensor(tensor, rows) for tensor in loaded.inputs],
        "output": [_tensor(tensor, rows) | _label(labels.get(tensor.name)) for tensor in loaded.outputs],
        "instance_group": [_instance_group(loaded)],
        "default_model_filename": config.model_filename or ("model.py" if is_python else "model.onnx"),
        "parameters": {key: {"string_value": text} for key, text in _parameters(loaded).items()},
        "model_warmup": [_warmup(warmup, loaded) for warmup in config.warmup],
    }
    if config.decoupled:
        answer["model_transaction_policy"] = {"decoupled": True}
    if config.cache is not None:
        answer["response_cache"] = {"enable": True}
    batching = _dynamic_batching(config)
    if config.sequence is not None:
        answer["sequence_batching"] = sequence_batching(config.sequence)
    elif rows > 0 or batching != _dynamic_batching(ModelConfig()):
        answer["dynamic_batching"] = batching
    if not is_python:
        answer["optimization"] = _optimization(loaded)
    return answer


def _ensemble(loaded: LoadedVersion, graph: PipelineConfig) -> dict[str, Any]:
    """A pipeline. Triton's message has no form for conditions, defaults and an output of another name than
    its tensor; docs/pipelines.md says so."""
    rows = loaded.choice.max_batch_size
    labels = {output.name: output for output in loaded.config.output}
    steps = [
        {
            "model_name": step.model,
            "model_version": -1 if step.version is None else step.version,
            "input_map": dict(step.inputs),
            "output_map": dict(step.outputs),
        }
        for step in graph.step
    ]
    return {
        "name": loaded.name,
        "platform": loaded.platform,
        "backend": "",
        "version_policy": _version_policy(loaded.config),
        "max_batch_size": rows,
        "input": [_tensor(tensor, rows) for tensor in loaded.inputs],
        "output": [_tensor(tensor, rows) | _label(labels.get(tensor.name)) for tensor in loaded.outputs],
        "ensemble_scheduling": {"step": steps},
    }


def _version_policy(config: ModelConfig) -> dict[str, Any]:
    policy = config.versions
    if policy.policy == "all":
        return {"all": {}}
    if policy.policy == "specific":
        return {"specific": {"versions": list(policy.list)}}
    return {"latest": {"num_versions": policy.n}}


def _data_type(datatype: str) -> str:
    return "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"


def _tensor(tensor: Tensor, rows: int) -> dict[str, Any]:
    dims = tensor.shape[1:] if rows > 0 else tensor.shape
    return {"name": tensor.name, "data_type": _data_type(tensor.datatype), "dims": list(dims)}


def _label(output: OutputConfig | None) -> dict[str, Any]:
    name = output.label_filename if output is not None else None
    return {} if name is None else {"label_filename": name}


def _instance_group(loaded: LoadedVersion) -> dict[str, Any]:
    group: dict[str, Any] = {"name": loaded.name, "kind": "KIND_CPU", "count": loaded.choice.instances}
    used = _providers(loaded)
    on_gpu = [provider for provider in used if provider.name in _GPU_PROVIDERS]
    if on_gpu:
        group["kind"] = "KIND_GPU"
        device = on_gpu[0].options.get("device_id", "0")
        group["gpus"] = [int(device)] if device.isdecimal() else []
    return group


def _providers(loaded: LoadedVersion) -> list[Provider]:
    """Return the configured providers that the model really runs on, without the CPU's own."""
    placed = loaded.placement.split(",")
    return [provider for provider in loaded.config.provider if provider.name in placed]


def _parameters(loaded: LoadedVersion) -> dict[str, str]:
    config = loaded.config
    texts = {key: _text(value) for key, value in config.parameters.items()}
    if loaded.platform != "python":
        texts["intra_op_thread_count"] = str(loaded.choice.threads)
        texts |= config.session
    default = ModelConfig()
    for key in _OWN_KEYS:
        value = getattr(config, key)
        if value != getattr(default, key):
            texts[f"falaj.{key}"] = _text(value)
    return texts


def _text(value: str | int | float | bool | None) -> str:
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _queue_policy(policy: QueuePolicy) -> dict[str, Any]:
    timeout_ms = policy.default_timeout_ms
    return {
        "timeout_action": "REJECT",
        "default_timeout_microseconds": 0 if timeout_ms is None else max(1, round(timeout_ms * 1000)),
        "allow_timeout_override": policy.allow_timeout_override,
        "max_queue_size": min(policy.max_queue_requests, _UINT32_MAX),
    }


def _dynamic_batching(config: ModelConfig) -> dict[str, Any]:
    own = QueuePolicy(config.max_queue_requests, config.default_timeout_ms, config.allow_timeout_override)
    answer: dict[str, Any] = {"max_queue_delay_microseconds": 0, "default_queue_policy": _queue_policy(own)}
    if config.priority_levels > 1:
        answer["priority_levels"] = config.priority_levels
        answer["default_priority_level"] = config.default_priority
        answer["priority_queue_policy"] = {
            str(level): _queue_policy(policy) for level, policy in sorted(config.priority_policy.items())
        }
    return answer


def _optimization(loaded: LoadedVersion) -> dict[str, Any]:
    answer: dict[str, Any] = {"graph": {"level": _GRAPH_LEVELS[loaded.config.graph_optimization]}}
    accelerators: dict[str, list[dict[str, Any]]] = {}
    for provider in _providers(loaded):
        if provider.name in _ACCELERATORS:
            kind, name = _ACCELERATORS[provider.name]
            options = {key: text for key, text in provider.options.items() if key != "device_id"}
            accelerators.setdefault(kind, []).append({"name": name, "parameters": options})
    if accelerators:
        answer["execution_accelerators"] = accelerators
    return answer


def _warmup(warmup: Warmup, loaded: LoadedVersion) -> dict[str, Any]:
    types = {tensor.name: tensor.datatype for tensor in loaded.inputs}
    inputs = {
        name: {
            "data_type": _data_type(types[name]),
            "dims": list(entry.shape),
            "random_data" if entry.fill == "random" else "zero_data": True,
        }
        for name, entry in warmup.inputs.items()
    }
    return {"name": warmup.name, "batch_size": warmup.rows, "count": warmup.count, "inputs": inputs}

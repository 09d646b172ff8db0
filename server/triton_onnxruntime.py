"""The parts of Triton's ModelConfig that speak to ONNX Runtime: devices, accelerators, parameters."""

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from falaj.server.errors import ConfigError
from falaj.server.model_config import Provider
from falaj.server.strict_toml import did_you_mean

GraphOptimization = Literal["disable", "basic", "extended", "all"]
Threads = int | Literal["auto"]

_KIND_AUTO, _KIND_GPU = 0, 1
_GRAPH_LEVELS: dict[int, GraphOptimization] = {-1: "basic", 0: "all", 1: "extended", 2: "disable"}
_SESSION_PREFIXES = ("session.", "optimization.", "ep.", "mlas.")

# Triton's name to the TensorRT provider's; names with trt_ are the provider's already.
_TENSORRT = {
    "max_workspace_size_bytes": "trt_max_workspace_size",
    "int8_calibration_table_name": "trt_int8_calibration_table_name",
    "int8_use_native_calibration_table": "trt_int8_use_native_calibration_table",
}
_PRECISIONS = {
    "FP32": {},
    "FP16": {"trt_fp16_enable": "1"},
    "BF16": {"trt_bf16_enable": "1"},
    "INT8": {"trt_int8_enable": "1"},
}

# CUDA options that older configurations give as parameters, with the words for their numbers.
_CUDA: dict[str, dict[str, str]] = {
    "cudnn_conv_algo_search": {"0": "EXHAUSTIVE", "1": "HEURISTIC", "2": "DEFAULT"},
    "arena_extend_strategy": {"0": "kNextPowerOfTwo", "1": "kSameAsRequested"},
    "gpu_mem_limit": {},
    "do_copy_in_default_stream": {},
}

_IGNORED = {
    "inter_op_thread_count": "Falaj runs the nodes of a graph one after another",
    "enable_mem_arena": "Falaj keeps ONNX Runtime's arena on",
    "enable_mem_pattern": "Falaj keeps ONNX Runtime's default",
    "memory.enable_memory_arena_shrinkage": "Falaj keeps the arena between runs",
}


@dataclass(frozen=True)
class OrtParameters:
    """`parameters` of an ONNX model, sorted by where they belong."""

    threads: Threads = "auto"
    session: dict[str, str] = field(default_factory=dict)
    cuda: dict[str, str] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)


def read_parameters(texts: dict[str, str], warnings: list[str]) -> OrtParameters:
    """Sort the parameters of an ONNX model; add to `warnings` what has no home. Raises ConfigError."""
    threads: Threads = "auto"
    session: dict[str, str] = {}
    cuda: dict[str, str] = {}
    others: dict[str, str] = {}
    for name, text in texts.items():
        shown = f"parameters[{name!r}]"
        if name == "intra_op_thread_count":
            count = _number(text, shown)
            threads = count if count > 0 else "auto"
        elif name == "execution_mode":
            if _number(text, shown) != 0:
                warnings.append(f"{shown} is ignored: Falaj runs the nodes of a graph one after another")
        elif name in _CUDA:
            cuda[name] = _CUDA[name].get(text, text)
        elif name in _IGNORED:
            warnings.append(f"{shown} is ignored: {_IGNORED[name]}")
        elif name.startswith(_SESSION_PREFIXES):
            session[name] = text
        else:
            others[name] = text
    return OrtParameters(threads, session, cuda, others)


def read_graph_optimization(config: Any) -> GraphOptimization:
    """Return the level of graph rewriting. Raises ConfigError on a number that has no meaning."""
    level: int = config.optimization.graph.level
    if level not in _GRAPH_LEVELS:
        raise ConfigError(f"expected -1, 0, 1 or 2, got {level}", key="optimization.graph.level")
    return _GRAPH_LEVELS[level]


def read_instances(config: Any, warnings: list[str]) -> int | Literal["auto"]:
    """Return the instances of all groups together, `auto` where no group counts them."""
    groups = [group for group in config.instance_group if not group.passive]
    for index, group in enumerate(config.instance_group):
        if group.count < 0:
            raise ConfigError(f"expected 1 or more, got {group.count}", key=f"instance_group[{index}].count")
        _check_gpus(group, index)
        if group.HasField("kind") and group.kind == _KIND_AUTO:
            warnings.append(
                f"instance_group[{index}].kind KIND_AUTO means the CPU here; name KIND_GPU to use a GPU"
            )
    if not any(group.count for group in groups):
        return "auto"
    return sum(group.count or 1 for group in groups)


def _check_gpus(group: Any, index: int) -> None:
    key = f"instance_group[{index}].gpus"
    negative = [gpu for gpu in group.gpus if gpu < 0]
    if negative:
        raise ConfigError(f"expected the number of a GPU, 0 or more, got {negative[0]}", key=key)
    if group.gpus and group.kind not in (_KIND_AUTO, _KIND_GPU):
        raise ConfigError(f"GPUs {list(group.gpus)} are named for a group that is not KIND_GPU", key=key)


def read_providers(config: Any, cuda_options: dict[str, str], warnings: list[str]) -> tuple[Provider, ...]:
    """Return the execution providers that devices and accelerators ask for. Raises ConfigError."""
    groups = [group for group in config.instance_group if not group.passive]
    kinds = {group.kind for group in groups}
    accelerators = config.optimization.execution_accelerators
    key = "optimization.execution_accelerators"
    gpu = _accelerators(accelerators.gpu_execution_accelerator, f"{key}.gpu", ("tensorrt", "cuda"))
    cpu = _accelerators(accelerators.cpu_execution_accelerator, f"{key}.cpu", ("openvino",))
    if gpu and kinds and not kinds & {_KIND_GPU, _KIND_AUTO}:
        warnings.append(f"{key}.gpu_execution_accelerator is ignored: no instance_group is KIND_GPU")
        gpu = {}
    providers = []
    if gpu or _KIND_GPU in kinds:
        device = _device(groups, warnings)
        if len(kinds) > 1:
            warnings.append("instance_group: all instances try the GPU first, Falaj does not mix devices")
        if "tensorrt" in gpu:
            providers.append(Provider("tensorrt", device | _tensorrt_options(gpu["tensorrt"], key)))
        providers.append(Provider("cuda", device | cuda_options | gpu.get("cuda", {})))
    elif cuda_options:
        names = ", ".join(sorted(cuda_options))
        warnings.append(f"parameters ({names}) are ignored: no instance_group is KIND_GPU")
    if "openvino" in cpu:
        providers.append(Provider("openvino", cpu["openvino"]))
    return tuple(providers)


def _accelerators(items: Any, key: str, known: tuple[str, ...]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for index, item in enumerate(items):
        name = item.name.lower()
        path = f"{key}_execution_accelerator[{index}].name"
        if name not in known:
            raise ConfigError(f"unknown accelerator {item.name!r}{did_you_mean(name, known)}", key=path)
        if name in found:
            raise ConfigError(f"'{name}' is there twice", key=path)
        found[name] = dict(item.parameters)
    return found


def _tensorrt_options(parameters: dict[str, str], key: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for name, text in parameters.items():
        path = f"{key}.gpu_execution_accelerator.parameters[{name!r}]"
        if name == "precision_mode":
            if text not in _PRECISIONS:
                raise ConfigError(f"expected {' or '.join(_PRECISIONS)}, got {text!r}", key=path)
            options |= _PRECISIONS[text]
        elif name in _TENSORRT:
            options[_TENSORRT[name]] = text
        elif name.startswith("trt_"):
            options[name] = text
        else:
            raise ConfigError(f"unknown option{did_you_mean(name, (*_TENSORRT, 'precision_mode'))}", key=path)
    return options


def _device(groups: list[Any], warnings: list[str]) -> dict[str, str]:
    gpus = list(dict.fromkeys(gpu for group in groups for gpu in group.gpus))
    if len(gpus) > 1:
        warnings.append(f"instance_group.gpus: only GPU {gpus[0]} is used, Falaj runs a model on one GPU")
    return {"device_id": str(gpus[0])} if gpus else {}


def _number(text: str, key: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text.strip()):
        raise ConfigError(f"expected a whole number of 0 or more, got {text!r}", key=key)
    return int(text)

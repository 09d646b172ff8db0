"""How a model is served: the one result of `model.toml` and of Triton's `config.pbtxt`.

A struct that exists is valid: each checks itself when it is made, whoever makes it, and raises ConfigError.
"""

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from falaj.server.errors import ConfigError
from falaj.server.strict_toml import decode, did_you_mean, override, read_toml

DataType = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64",
    "FP16", "BF16", "FP32", "FP64", "BYTES",
]  # fmt: skip

_PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
# The core holds counts in 32 bits, queue bounds and sizes in 64, and times in nanoseconds in 64.
_COUNT_MAX = 2**31 - 1
_INT64_MAX = 2**63 - 1
_MS_MAX = 1e12
# Each level is a queue that is looked at for every batch.
_LEVELS_MAX = 256


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every table of the file: immutable, no unknown keys."""


class InputConfig(_Table, frozen=True):
    """An input. What is left out is taken from the model file."""

    name: str
    """Name of the input in the model file."""
    datatype: DataType | None = None
    """V2 data type. Default: the model's. State it for python models, or to be told when the file differs."""
    shape: tuple[int, ...] | None = None
    """Shape with the batch dimension first; -1 is variable. Default: the model's. State it for python models,
    or to narrow a dimension that the file leaves variable."""
    pad_axis: int | None = None
    """Axis (0 is the batch) that differs between requests and is padded to the longest of a batch. Default: none,
    requests of different lengths run in different batches. Set it for token sequences and the like."""
    pad_value: float = 0
    """What padding is filled with. Default: 0. Change it where the model has a padding token."""
    mask: str | None = None
    """Name of another input of the model, [rows, pad_axis], that the server fills: 1 where `name` has real
    elements, 0 where it was padded. Default: none. Set it for attention masks."""

    def __post_init__(self) -> None:
        _require_name(self.name)
        _require_shape(self.shape)
        _require_axis("pad_axis", self.pad_axis, self.shape)
        if self.pad_axis is None and (self.mask is not None or self.pad_value != 0):
            key = "mask" if self.mask is not None else "pad_value"
            raise ConfigError("expected pad_axis beside it", key=key)
        if self.pad_axis is not None and self.datatype == "BYTES":
            raise ConfigError("expected a numeric datatype, BYTES cannot be padded", key="pad_axis")
        if self.mask == self.name:
            raise ConfigError("expected another input than the one that is padded", key="mask")
        _require_pad_value(self.pad_value, self.datatype)


class OutputConfig(_Table, frozen=True):
    """An output. What is left out is taken from the model file."""

    name: str
    """Name of the output in the model file."""
    datatype: DataType | None = None
    """V2 data type. Default: the model's."""
    shape: tuple[int, ...] | None = None
    """Shape with the batch dimension first; -1 is variable. Default: the model's."""
    unpad_axis: int | None = None
    """Axis (0 is the batch) that is as long as a padded input and is cut back to the request's own length.
    Default: found by the names of the model's dimensions. Set it where the model has no such names."""
    unpad_like: str | None = None
    """Name of that padded input; belongs to `unpad_axis`."""

    def __post_init__(self) -> None:
        _require_name(self.name)
        _require_shape(self.shape)
        _require_axis("unpad_axis", self.unpad_axis, self.shape)
        if (self.unpad_axis is None) != (self.unpad_like is None):
            missing = "unpad_axis" if self.unpad_axis is None else "unpad_like"
            raise ConfigError("is missing; unpad_axis and unpad_like belong together", key=missing)


class Provider(_Table, frozen=True):
    """An execution provider of ONNX Runtime."""

    name: str
    """`cpu`, `cuda`, `tensorrt`, `openvino`, or the full name, which is what is kept."""
    options: dict[str, str] = {}
    """The provider's own options, by ONNX Runtime's names, as text. Default: the provider's defaults."""

    def __post_init__(self) -> None:
        full = _PROVIDERS.get(self.name.lower(), self.name)
        if not full.endswith("ExecutionProvider"):
            raise ConfigError(
                f"expected a short name or one that ends in ExecutionProvider, got '{self.name}'"
                f"{did_you_mean(self.name, _PROVIDERS)}",
                key="name",
            )
        msgspec.structs.force_setattr(self, "name", full)


class VersionPolicy(_Table, frozen=True):
    """Which of the versions in the folder are served."""

    policy: Literal["latest", "all", "specific"] = "latest"
    """`latest`: the highest `n` numbers; `all`; `specific`: those of `list`. Default: latest."""
    n: int = 1
    """How many versions `latest` serves. Default: 1. Raise it to keep the version before at hand."""
    list: tuple[int, ...] = ()
    """The versions that `specific` serves. No default."""

    def __post_init__(self) -> None:
        _require_int("n", self.n, 1)
        for index, version in enumerate(self.list):
            _require_int(f"list[{index}]", version, 1, _INT64_MAX)
        _require_unique("list", self.list)
        if (self.policy == "specific") != bool(self.list):
            wanted = "one or more versions" if self.policy == "specific" else f"none with policy '{self.policy}'"
            raise ConfigError(f"expected {wanted}", key="list")


class QueuePolicy(_Table, frozen=True):
    """What the requests of one priority level are held to, in place of the model's own values."""

    max_queue_requests: int = 0
    """Requests waiting at this level; more are refused. Default: 0, only max_queue_rows holds."""
    default_timeout_ms: float | None = None
    """Deadline of a request that names none, in milliseconds from its arrival. Default: none."""
    allow_timeout_override: bool = True
    """Whether a request's own timeout counts. Default: true."""

    def __post_init__(self) -> None:
        _require_int("max_queue_requests", self.max_queue_requests, 0, _INT64_MAX)
        _require_ms("default_timeout_ms", self.default_timeout_ms)


class WarmupInput(_Table, frozen=True):
    """A tensor of a warm-up request."""

    shape: tuple[int, ...]
    """Shape of one row, without the batch dimension; of the whole tensor where the model never batches."""
    fill: Literal["zero", "random"] = "zero"
    """What it is filled with. Default: zero. Random where zeros take a short cut through the model."""

    def __post_init__(self) -> None:
        _require_shape(self.shape)


class Warmup(_Table, frozen=True):
    """A request that is run before the model is put in service."""

    name: str = "warmup"
    """What it is called in messages. Default: warmup."""
    rows: int = 1
    """Rows of the batch. Default: 1. State the sizes that are frequent; the smallest and largest run anyway."""
    count: int = 1
    """How often it is run. Default: 1."""
    inputs: dict[str, WarmupInput] = {}
    """Input name to shape and fill. Default: the model's shapes, zeros."""

    def __post_init__(self) -> None:
        _require_int("rows", self.rows, 1)
        _require_int("count", self.count, 1)


class ModelConfig(_Table, frozen=True):
    """Everything that can be said about how a model is served. docs/model-config.md lists the keys."""

    backend: Literal["onnxruntime", "python"] | None = None
    """What runs the model. Default: by the file that is found, model.onnx or model.py."""
    model_filename: str | None = None
    """Name of the model file in a version folder. Default: model.onnx or model.py."""
    max_batch_size: int | None = None
    """Rows of a batch. 0: never batch, requests run one by one. Default: found by trial when it is loaded.
    Set it where memory bounds it, or where the first dimension is not a batch (0)."""
    instances: int | Literal["auto"] = "auto"
    """Batches of this model that run at a time. Default: auto, by trial. Set it for repeatable deployments."""
    threads: int | Literal["auto"] = "auto"
    """Intra-op threads of one run. Default: auto, by trial. Raise it for large models at low load."""
    tune_ms: int = 300
    """Milliseconds that the auto choices may take at load. 0: no trials. Lower it where loading must be quick."""
    slo_ms: float | None = None
    """Milliseconds within which an answer is worth having; what is expected to take longer is refused at once.
    Default: none. Set it to what callers wait."""
    max_queue_rows: int = 4096
    """Rows waiting; a request beyond is refused. Bounds memory. Raise it for bursts of large requests."""
    max_queue_requests: int = 0
    """Requests waiting at each priority level that has no policy of its own. Default: 0, no bound of its own."""
    default_timeout_ms: float | None = None
    """Deadline of a request that names none, in milliseconds from its arrival. Default: none."""
    allow_timeout_override: bool = True
    """Whether a request's own timeout counts. Default: true."""
    priority_levels: int = 1
    """Priority levels; 1 is served first. Default: 1. Raise it to let some callers pass others."""
    default_priority: int = 1
    """Level of a request that names none (priority 0). Default: 1."""
    priority_policy: dict[int, QueuePolicy] = {}
    """Level to its own queue policy, which replaces the model's values as a whole. Default: none has one."""
    run_on_submitter: bool = True
    """Whether short work runs on the thread that brings it while the model is idle, which saves a hand-over.
    Default: true. Set it to false where that thread must never be kept."""
    drain_seconds: float = 30.0
    """Seconds that requests in flight are given when the version is taken out of service. Default: 30."""
    input: tuple[InputConfig, ...] = ()
    """Inputs that need saying more about than the model file does."""
    output: tuple[OutputConfig, ...] = ()
    """Outputs that need saying more about than the model file does."""
    provider: tuple[Provider, ...] = ()
    """Execution providers, the preferred one first; the CPU always comes last. Default: the CPU."""
    graph_optimization: Literal["disable", "basic", "extended", "all"] = "all"
    """How far ONNX Runtime rewrites the graph. Default: all. Lower it to look for a numerical difference."""
    session: dict[str, str] = {}
    """ONNX Runtime's session config entries (`session.…`), passed through as text. Default: none."""
    versions: VersionPolicy = VersionPolicy()
    """Which versions are served. Default: the latest one."""
    warmup: tuple[Warmup, ...] = ()
    """Requests that are run at load, beside the smallest and the largest batch. Default: none."""
    parameters: dict[str, str | int | float | bool] = {}
    """Values handed to a python model. Default: none."""
    python_class: str = "Model"
    """Class in model.py. Default: Model."""

    def __post_init__(self) -> None:
        _check_scalars(self)
        _check_priorities(self)
        _check_tensors(self)
        _check_masks(self)
        _require_unique("provider", [provider.name for provider in self.provider])
        for index, warmup in enumerate(self.warmup):
            if self.max_batch_size is not None and warmup.rows > max(1, self.max_batch_size):
                raise ConfigError(
                    f"expected at most max_batch_size ({self.max_batch_size}), got {warmup.rows}",
                    key=f"warmup[{index}].rows",
                )

    def queue_policy(self, level: int) -> QueuePolicy:
        """Return what requests of a level, 1 to priority_levels, are held to."""
        own = QueuePolicy(self.max_queue_requests, self.default_timeout_ms, self.allow_timeout_override)
        return self.priority_policy.get(level, own)


def load_model_toml(path: Path) -> ModelConfig:
    """Read and check a `model.toml`. Raises ConfigError that names file, key path, got and expected."""
    return from_table(read_toml(path), str(path))


def from_table(table: Mapping[str, Any], where: str) -> ModelConfig:
    """Build a ModelConfig from parsed TOML. `where` names the source in errors. Raises ConfigError."""
    return decode(table, ModelConfig, source=where)


def apply_overrides(config: ModelConfig, overrides: Mapping[str, str], where: str = "override") -> ModelConfig:
    """Set top-level scalar keys from text (environment, flags), held to the same checks. Raises ConfigError.

    `none` unsets a key without a default value, such as slo_ms.
    """
    return override(config, overrides, source=where)


def _check_scalars(config: ModelConfig) -> None:
    for key, low in (("max_batch_size", 0), ("instances", 1), ("threads", 1), ("tune_ms", 0)):
        value = getattr(config, key)
        if isinstance(value, int):
            _require_int(key, value, low)
    _require_int("max_queue_rows", config.max_queue_rows, 1, _INT64_MAX)
    _require_int("max_queue_requests", config.max_queue_requests, 0, _INT64_MAX)
    _require_ms("slo_ms", config.slo_ms)
    _require_ms("default_timeout_ms", config.default_timeout_ms)
    if not 0 <= config.drain_seconds <= _MS_MAX / 1000:
        raise ConfigError(f"expected 0 to {_MS_MAX / 1000:g} seconds, got {config.drain_seconds}", key="drain_seconds")
    if config.model_filename is not None and not re.fullmatch(r"[^/\\\0]*[^/\\\0.][^/\\\0]*", config.model_filename):
        raise ConfigError(
            f"expected the name of a file in the version folder, got '{config.model_filename}'", key="model_filename"
        )
    if not config.python_class.isidentifier():
        raise ConfigError(f"expected the name of a class, got '{config.python_class}'", key="python_class")


def _check_priorities(config: ModelConfig) -> None:
    _require_int("priority_levels", config.priority_levels, 1, _LEVELS_MAX)
    levels = f"a level of 1 to priority_levels ({config.priority_levels})"
    if not 1 <= config.default_priority <= config.priority_levels:
        raise ConfigError(f"expected {levels}, got {config.default_priority}", key="default_priority")
    for level in config.priority_policy:
        if not 1 <= level <= config.priority_levels:
            raise ConfigError(f"expected {levels}, got {level}", key=f"priority_policy.{level}")


def _check_tensors(config: ModelConfig) -> None:
    both: tuple[tuple[str, tuple[InputConfig | OutputConfig, ...]], ...] = (
        ("input", config.input),
        ("output", config.output),
    )
    for kind, tensors in both:
        names = [tensor.name for tensor in tensors]
        for index, tensor in enumerate(tensors):
            if tensor.name in names[:index]:
                raise ConfigError(f"'{tensor.name}' is there twice, expected each once", key=f"{kind}[{index}].name")
            if config.max_batch_size and tensor.shape is not None and tensor.shape[:1] != (-1,):
                raise ConfigError(
                    f"expected -1 first, the batch dimension of a model with max_batch_size "
                    f"{config.max_batch_size}; got {[*tensor.shape]}",
                    key=f"{kind}[{index}].shape",
                )


def _check_masks(config: ModelConfig) -> None:
    masks = [tensor.mask for tensor in config.input]
    padded = {tensor.name for tensor in config.input if tensor.pad_axis is not None}
    for index, mask in enumerate(masks):
        key = f"input[{index}].mask"
        if mask is not None and mask in masks[:index]:
            raise ConfigError(f"'{mask}' is the mask of another input already", key=key)
        if mask is not None and mask in padded:
            raise ConfigError(f"'{mask}' is padded itself, expected an input that the server can fill", key=key)
    for index, output in enumerate(config.output):
        if output.unpad_like is not None and output.unpad_like not in padded:
            found = ", ".join(sorted(padded)) or "none"
            raise ConfigError(
                f"expected an input with pad_axis (here: {found}), got '{output.unpad_like}'",
                key=f"output[{index}].unpad_like",
            )


def _require_int(key: str, value: int, low: int, high: int = _COUNT_MAX) -> None:
    if not low <= value <= high:
        raise ConfigError(f"expected a whole number of {low} to {high}, got {value}", key=key)


def _require_ms(key: str, value: float | None) -> None:
    if value is not None and not 0 < value <= _MS_MAX:
        raise ConfigError(f"expected milliseconds above 0, at most {_MS_MAX:g}, got {value}", key=key)


def _require_name(name: str) -> None:
    if not name:
        raise ConfigError("expected a tensor's name, got ''", key="name")


def _require_shape(shape: tuple[int, ...] | None) -> None:
    for index, size in enumerate(shape or ()):
        if not -1 <= size <= _INT64_MAX:
            raise ConfigError(f"expected a size, or -1 for a variable one, got {size}", key=f"shape[{index}]")


def _require_axis(key: str, axis: int | None, shape: tuple[int, ...] | None) -> None:
    if axis is None:
        return
    _require_int(key, axis, 1)
    if shape is not None and (axis >= len(shape) or shape[axis] != -1):
        raise ConfigError(f"expected a variable axis (-1) of shape {[*shape]}, got {axis}", key=key)


def _require_pad_value(value: float, datatype: DataType | None) -> None:
    if datatype is None or datatype.startswith(("FP", "BF", "BYTES")):
        return
    whole = re.fullmatch(r"(U?)INT(\d+)", datatype)
    low, high = 0, 1
    if whole:
        bits = int(whole[2])
        low, high = (0, 2**bits - 1) if whole[1] else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    if not math.isfinite(value) or value != int(value) or not low <= value <= high:
        raise ConfigError(f"expected a whole number of {low} to {high} for {datatype}, got {value}", key="pad_value")


def _require_unique(key: str, values: Iterable[object]) -> None:
    seen: set[object] = set()
    for index, value in enumerate(values):
        if value in seen:
            raise ConfigError(f"'{value}' is there twice, expected each once", key=f"{key}[{index}]")
        seen.add(value)

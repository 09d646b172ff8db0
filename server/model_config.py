"""How a model is served: the one result of `model.toml` and of Triton's `config.pbtxt`.

A struct that exists is valid: each checks itself when it is made, whoever makes it, and raises ConfigError.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from falaj.server.errors import ConfigError
from falaj.server.model_checks import (
    INT64_MAX,
    require_axis,
    require_file_name,
    require_int,
    require_ms,
    require_name,
    require_pad_value,
    require_shape,
    require_unique,
)
from falaj.server.sequence_config import SequenceConfig
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
# Each level is a queue that is looked at for every batch.
_LEVELS_MAX = 256
# No answer is kept that takes more than an eighth; the smallest take some 500 bytes.
_CACHE_MIN = 16 * 1024


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
    """Axis (0 is the batch) that differs between requests and is padded to the longest of a batch. Default:
    none, requests of different lengths run in different batches. Set it for token sequences and the like."""
    pad_value: float = 0
    """What padding is filled with. Default: 0. Change it where the model has a padding token."""
    mask: str | None = None
    """Name of another input of the model, [rows, pad_axis], that the server fills: 1 where `name` has real
    elements, 0 where it was padded. Default: none. Set it for attention masks."""

    def __post_init__(self) -> None:
        require_name(self.name)
        require_shape(self.shape)
        require_axis("pad_axis", self.pad_axis, self.shape)
        if self.pad_axis is None and (self.mask is not None or self.pad_value != 0):
            key = "mask" if self.mask is not None else "pad_value"
            raise ConfigError("expected pad_axis beside it", key=key)
        if self.pad_axis is not None and self.datatype == "BYTES":
            raise ConfigError("expected a numeric datatype, BYTES cannot be padded", key="pad_axis")
        if self.mask == self.name:
            raise ConfigError("expected another input than the one that is padded", key="mask")
        require_pad_value(self.pad_value, self.datatype)


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
    label_filename: str | None = None
    """Text file in the model's folder with the name of a class on each line; classification answers carry
    them. Default: answers carry the classes' numbers alone."""

    def __post_init__(self) -> None:
        require_name(self.name)
        require_shape(self.shape)
        require_axis("unpad_axis", self.unpad_axis, self.shape)
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
        require_int("n", self.n, 1)
        for index, version in enumerate(self.list):
            require_int(f"list[{index}]", version, 1, INT64_MAX)
        require_unique("list", self.list)
        if (self.policy == "specific") != bool(self.list):
            wanted = "one or more versions" if self.policy == "specific" else "none"
            raise ConfigError(f"expected {wanted} with policy '{self.policy}'", key="list")


class QueuePolicy(_Table, frozen=True):
    """What the requests of one priority level are held to, in place of the model's own values."""

    max_queue_requests: int = 0
    """Requests waiting at this level; more are refused. Default: 0, only max_queue_rows holds."""
    default_timeout_ms: float | None = None
    """Deadline of a request that names none, in milliseconds from its arrival. Default: none."""
    allow_timeout_override: bool = True
    """Whether a request's own timeout counts. Default: true."""

    def __post_init__(self) -> None:
        require_int("max_queue_requests", self.max_queue_requests, 0, INT64_MAX)
        require_ms("default_timeout_ms", self.default_timeout_ms)


class WarmupInput(_Table, frozen=True):
    """A tensor of a warm-up request."""

    shape: tuple[int, ...]
    """Shape of one row, without the batch dimension; of the whole tensor where the model never batches."""
    fill: Literal["zero", "random"] = "zero"
    """What it is filled with. Default: zero. Random where zeros take a short cut through the model."""

    def __post_init__(self) -> None:
        require_shape(self.shape)


class Warmup(_Table, frozen=True):
    """A request that is run before the model is put in service."""

    name: str = "warmup"
    """What it is called in messages. Default: warmup."""
    rows: int = 1
    """Rows of the batch. Default: 1. State the frequent sizes; the smallest and the largest run anyway."""
    count: int = 1
    """How often it is run. Default: 1."""
    inputs: dict[str, WarmupInput] = {}
    """Input name to shape and fill. Default: the model's shapes, zeros."""

    def __post_init__(self) -> None:
        require_int("rows", self.rows, 1)
        require_int("count", self.count, 1)


class CacheConfig(_Table, frozen=True):
    """That answers are kept for requests that are equal. docs/cache.md tells which models it is for."""

    max_bytes: int = 64 * 1024 * 1024
    """Memory of kept answers and of their keys, for each version in service; what was used longest ago makes
    room. Default: 64 MiB. Raise it while answers are evicted that would have been asked for again."""
    ttl_ms: float | None = None
    """Milliseconds after which an answer is not given any more. Default: none, until the version leaves.
    Set it where the model depends on more than its inputs."""

    def __post_init__(self) -> None:
        require_int("max_bytes", self.max_bytes, _CACHE_MIN, INT64_MAX)
        require_ms("ttl_ms", self.ttl_ms)


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
    """Batches of this model that run at a time. Default: auto, by trial. Set it to bound memory and cores."""
    threads: int | Literal["auto"] = "auto"
    """Intra-op threads of one run. Default: auto, by trial. Raise it for large models at low load."""
    tune_ms: int = 300
    """Milliseconds that the auto choices may take at load. Default: 300. 0: no trials, the quickest load."""
    slo_ms: float | None = None
    """Milliseconds within which an answer is worth having; what is expected to take longer is refused at
    once. Default: none. Set it to what callers wait."""
    max_queue_rows: int = 4096
    """Rows waiting; a request beyond is refused. Default: 4096. Raise it for bursts, lower it for memory."""
    max_queue_requests: int = 0
    """Requests waiting at each priority level without a policy of its own. Default: 0, only max_queue_rows
    holds. Set it where many small requests should be refused early."""
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
    decoupled: bool = False
    """Whether a python model answers each request any number of times: by its `stream(batch)`, a generator,
    which is called for one request at a time. Default: false. docs/streaming.md tells how it is asked."""
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
    sequence: SequenceConfig | None = None
    """How sequences are kept apart. Default: none are, each request stands for itself."""
    cache: CacheConfig | None = None
    """Keeps answers for requests with equal inputs. Default: none, every request is run. Set it where the
    same inputs come again and the model answers them alike each time."""
    parameters: dict[str, str | int | float | bool] = {}
    """Values handed to a python model. Default: none."""
    python_class: str = "Model"
    """Class in model.py. Default: Model."""

    def __post_init__(self) -> None:
        _check_scalars(self)
        _check_priorities(self)
        _check_tensors(self)
        _check_masks(self)
        if self.decoupled and self.cache is not None:
            raise ConfigError(
                "expected none for a decoupled model, which has more than one answer", key="cache"
            )
        require_unique("provider", [provider.name for provider in self.provider])
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


def apply_overrides(
    config: ModelConfig, overrides: Mapping[str, str], where: str = "override"
) -> ModelConfig:
    """Set top-level scalar keys from text (environment, flags), held to the same checks. Raises ConfigError.

    `none` unsets a key without a default value, such as slo_ms.
    """
    return override(config, overrides, source=where)


def _check_scalars(config: ModelConfig) -> None:
    for key, low in (("max_batch_size", 0), ("instances", 1), ("threads", 1), ("tune_ms", 0)):
        value = getattr(config, key)
        if isinstance(value, int):
            require_int(key, value, low)
    require_int("max_queue_rows", config.max_queue_rows, 1, INT64_MAX)
    require_int("max_queue_requests", config.max_queue_requests, 0, INT64_MAX)
    require_ms("slo_ms", config.slo_ms)
    require_ms("default_timeout_ms", config.default_timeout_ms)
    if not 0 <= config.drain_seconds <= 1e9:
        raise ConfigError(f"expected 0 to 1e9 seconds, got {config.drain_seconds}", key="drain_seconds")
    require_file_name("model_filename", config.model_filename)
    if not config.python_class.isidentifier():
        raise ConfigError(f"expected the name of a class, got '{config.python_class}'", key="python_class")


def _check_priorities(config: ModelConfig) -> None:
    require_int("priority_levels", config.priority_levels, 1, _LEVELS_MAX)
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
                raise ConfigError(f"'{tensor.name}' is there twice", key=f"{kind}[{index}].name")
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
            raise ConfigError(f"'{mask}' is padded itself, expected one for the server to fill", key=key)
    for index, output in enumerate(config.output):
        if output.unpad_like is not None and output.unpad_like not in padded:
            found = ", ".join(sorted(padded)) or "none"
            raise ConfigError(
                f"expected an input with pad_axis (here: {found}), got '{output.unpad_like}'",
                key=f"output[{index}].unpad_like",
            )

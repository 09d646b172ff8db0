"""The JSON objects of the protocol: what requests are held to, and what the OpenAPI document tells.

Answers are plain dicts made elsewhere; the tests hold them to these shapes.
"""

from typing import Annotated, Any, Literal

import msgspec

from falaj.server.model_config import DataType


class _Shape(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of all: immutable, no unknown keys."""


class Error(_Shape, frozen=True):
    """Why a request was not answered."""

    error: str


class ServerMetadata(_Shape, frozen=True):
    """What this server is."""

    name: str
    version: str
    extensions: list[str]


class Live(_Shape, frozen=True):
    """Whether the process answers."""

    live: bool


class Ready(_Shape, frozen=True):
    """Whether the server should be asked; `error` says why not."""

    ready: bool
    error: str = ""


class ModelReady(_Shape, frozen=True):
    """Whether a model answers; `error` says why not."""

    name: str
    ready: bool
    error: str = ""


class ModelNames(_Shape, frozen=True):
    """The models that are known."""

    models: list[str]


class TensorMetadata(_Shape, frozen=True):
    """An input or output. -1 is a variable size; the batch dimension is among them."""

    name: str
    datatype: DataType
    shape: list[int]


class ModelMetadata(_Shape, frozen=True):
    """What a model takes and gives."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class Duration(_Shape, frozen=True):
    """How often, and how many nanoseconds together."""

    count: int
    ns: int


class InferenceStatistics(_Shape, frozen=True):
    """Sums over requests. A request has the whole time of its batch in each phase."""

    success: Duration
    fail: Duration
    queue: Duration
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration
    cache_hit: Duration
    cache_miss: Duration


class BatchStatistics(_Shape, frozen=True):
    """Sums over batches of one size."""

    batch_size: int
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


class MemoryUsage(_Shape, frozen=True):
    """Memory that a model version holds."""

    type: str
    id: int
    byte_size: int


class VersionStatistics(_Shape, frozen=True):
    """What one version has done. `last_inference` is in milliseconds since the epoch, 0: never."""

    name: str
    version: str
    last_inference: int
    inference_count: int
    execution_count: int
    inference_stats: InferenceStatistics
    response_stats: dict[str, Any]
    batch_stats: list[BatchStatistics]
    memory_usage: list[MemoryUsage]


class Statistics(_Shape, frozen=True):
    """What versions have done since they were loaded."""

    model_stats: list[VersionStatistics]


class IndexRequest(_Shape, frozen=True):
    """Which models are told: all, or only those in service."""

    ready: bool = False


class IndexEntry(_Shape, frozen=True):
    """A model version that is known, or a model of the repository that is not loaded (no version)."""

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE", "LOADING"]
    reason: str


class LoadRequest(_Shape, frozen=True):
    """How a model is loaded once. `config`: a ModelConfig in JSON that replaces the model's own.
    `file:<version>/<name>`: base64 of a file; those given replace the model's folder, and need a `config`."""

    parameters: dict[str, str] = {}


class UnloadParameters(_Shape, frozen=True):
    """`unload_dependents`: also the models that a pipeline is made of, but for those that others need."""

    unload_dependents: bool = False


class UnloadRequest(_Shape, frozen=True):
    """How a model is unloaded."""

    parameters: UnloadParameters = UnloadParameters()


Size = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class RegisterRegion(_Shape, frozen=True):
    """A region of system shared memory: `byte_size` bytes from `offset` on of the file that shm_open makes
    for `key`."""

    key: str
    byte_size: Size
    offset: Size = 0


class RegionStatus(_Shape, frozen=True):
    """A registered region."""

    name: str
    key: str
    offset: int
    byte_size: int


class LogSettings(_Shape, frozen=True):
    """What the server writes down. `log_file` can only be set in its configuration."""

    log_file: str
    log_info: bool
    log_warning: bool
    log_error: bool
    log_verbose_level: int
    log_format: Literal["default", "ISO8601"]


class LogChanges(_Shape, frozen=True):
    """Log settings to be changed; null and what is left out stay as they are."""

    log_file: str | None = None
    log_info: bool | None = None
    log_warning: bool | None = None
    log_error: bool | None = None
    log_verbose_level: int | None = None
    log_format: str | None = None


class TraceSettings(_Shape, frozen=True):
    """What is traced. `trace_level`: OFF or TIMESTAMPS; `trace_rate`: one request of so many; `trace_count`:
    so many may still be traced, -1: no end. The others are fixed."""

    trace_file: str
    trace_level: list[str]
    trace_rate: str
    trace_count: str
    log_frequency: str
    trace_mode: str


class TraceChanges(_Shape, frozen=True):
    """Trace settings to be changed; null clears one, what is left out stays as it is."""

    trace_file: str | None = None
    trace_level: str | list[str] | None = None
    trace_rate: str | None = None
    trace_count: str | None = None
    log_frequency: str | None = None
    trace_mode: str | None = None


Parameters = dict[str, str | float | bool]


class InputTensor(_Shape, frozen=True):
    """`data`: row-major, nested or flat; absent where `parameters.binary_data_size` bytes follow the JSON, or
    where it lies in shared memory (`shared_memory_region`, `_offset`, `_byte_size`)."""

    name: str
    shape: list[int]
    datatype: DataType
    parameters: Parameters = {}
    data: list[Any] = []


class RequestedOutput(_Shape, frozen=True):
    """An output that is wanted. Parameters: `binary_data`, `classification`, and where it is wanted in shared
    memory: `shared_memory_region`, `shared_memory_offset`, `shared_memory_byte_size`."""

    name: str
    parameters: Parameters = {}


class InferRequest(_Shape, frozen=True):
    """No `outputs`: all. Parameters: `priority`, `timeout` (µs), `binary_data_output`, `cache`."""

    inputs: list[InputTensor]
    id: str = ""
    parameters: Parameters = {}
    outputs: list[RequestedOutput] = []


class InferResponse(_Shape, frozen=True):
    """The outputs, in the order in which they were asked for."""

    model_name: str
    model_version: str
    outputs: list[InputTensor]
    id: str = ""
    parameters: Parameters = {}

"""The native core (csrc/bind). Internal: use falaj.Engine."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__version__: str

class Error(Exception): ...
class InvalidInput(Error, ValueError): ...
class NotFound(Error, LookupError): ...
class Unavailable(Error): ...
class DeadlineExceeded(Error, TimeoutError): ...
class Cancelled(Error): ...
class Unsupported(Error): ...
class InternalError(Error, RuntimeError): ...

_Convert: TypeAlias = Callable[[Any, str], npt.NDArray[Any]]
_Arrays: TypeAlias = dict[str, npt.NDArray[Any]]
_Described: TypeAlias = list[tuple[str, str, tuple[int, ...], tuple[str, ...], bool]]
_Spec: TypeAlias = tuple[str, str, Sequence[int]] | tuple[str, str, Sequence[int], bool]

class Runtime:
    def __init__(self, cores: int, convert: _Convert) -> None: ...
    def publish(
        self, models: Mapping[str, tuple[dict[int, Model], int | None, str, list[Model]]]
    ) -> None: ...
    def infer(
        self,
        model: str,
        inputs: dict[str, Any],
        version: int,
        timeout: float | None,
        priority: int,
        sequence: tuple[int | str, bool, bool] | None,
        outputs: Sequence[str] | None,
        out: Mapping[str, npt.NDArray[Any]] | None,
    ) -> _Arrays: ...
    def infer_many(
        self,
        model: str,
        requests: Sequence[dict[str, Any]],
        version: int,
        timeout: float | None,
        priority: int,
        outputs: Sequence[str] | None,
        return_exceptions: bool,
    ) -> list[Any]: ...
    def close(self) -> None: ...

class AsyncSink:
    def __init__(self, runtime: Runtime) -> None: ...
    @property
    def fd(self) -> int: ...
    @property
    def pending(self) -> int: ...
    def submit(
        self,
        model: str,
        inputs: dict[str, Any],
        version: int,
        timeout: float | None,
        priority: int,
        sequence: tuple[int | str, bool, bool] | None,
        outputs: Sequence[str] | None,
        out: Mapping[str, npt.NDArray[Any]] | None,
        future: asyncio.Future[_Arrays],
    ) -> int: ...
    def submit_stream(
        self,
        model: str,
        inputs: dict[str, Any],
        version: int,
        timeout: float | None,
        priority: int,
        outputs: Sequence[str] | None,
        take: Callable[[StreamedAnswer], None],
    ) -> int: ...
    def flush(self) -> None: ...
    def cancel(self, tag: int) -> None: ...
    def drain(self) -> None: ...

class AnswerWriter:
    @property
    def fd(self) -> int: ...
    @property
    def is_full(self) -> bool: ...
    @property
    def has_ended(self) -> bool: ...
    def clear(self) -> None: ...
    def put(self, answer: Any) -> bool: ...

class StreamedAnswer:
    @property
    def last(self) -> bool: ...
    def take(self) -> _Arrays | None: ...

class AnswerIterator:
    def __init__(
        self,
        runtime: Runtime,
        model: str,
        inputs: dict[str, Any],
        version: int,
        timeout: float | None,
        priority: int,
        outputs: Sequence[str] | None,
    ) -> None: ...
    def next(self) -> _Arrays | None: ...
    def close(self) -> None: ...

class Backend:
    @property
    def inputs(self) -> _Described: ...
    @property
    def outputs(self) -> _Described: ...
    @property
    def placement(self) -> str: ...
    @property
    def fallbacks(self) -> list[str]: ...
    def run(self, inputs: dict[str, Any], convert: _Convert) -> _Arrays: ...
    def measure(
        self, inputs: dict[str, Any], rows: int, instances: int, seconds: float, convert: _Convert
    ) -> tuple[float, float]: ...

def join_features(
    model: Backend,
    views: Sequence[tuple[OnlineView, str, int | None, int]],
    features: Sequence[tuple[int, str, bytes | None]],
    inputs: Sequence[tuple[str, Sequence[tuple[int] | tuple[str, str]]]],
    as_of: bool = False,
    log: ServedLog | None = None,
) -> Backend: ...
def keep_sequences(
    model: Backend,
    inputs: Sequence[int],
    outputs: Sequence[int],
    controls: Sequence[tuple[str, int, float, float]],
    states: Sequence[tuple[int, int, Sequence[int], bytes]],
    batches: bool,
    by_slot: bool,
    max_state_bytes: int,
) -> Backend: ...

class ServedLog:
    def __init__(self, capacity: int, per_million: int) -> None: ...
    def take(self) -> list[npt.NDArray[Any]] | None: ...
    @property
    def dropped(self) -> int: ...
    @property
    def in_use(self) -> bool: ...

class Model:
    def __init__(self, runtime: Runtime, backend: Backend, options: dict[str, Any]) -> None: ...
    def warm_up(self, inputs: dict[str, Any], times: int, instances: int, convert: _Convert) -> None: ...
    def wait_for_sequences(self, seconds: float) -> bool: ...
    def drain(self, seconds: float) -> bool: ...
    def close(self) -> None: ...
    def stats(self) -> dict[str, Any]: ...
    def estimated_cost(self, rows: int) -> float: ...

def load_pipeline(runtime: Runtime, plan: Mapping[str, Any], options: dict[str, Any]) -> Model: ...
def load_onnx(
    library: str,
    path: str,
    threads: int,
    providers: Sequence[tuple[str, Mapping[str, str]]],
    session: Mapping[str, str],
    optimization: str,
    beside_traffic: bool,
    custom_operators: str = "",  # path of a shared library
) -> Backend: ...
def load_python(
    inputs: Sequence[_Spec],
    outputs: Sequence[_Spec],
    factory: Callable[[], Any],
    loop: Any,  # falaj.server.model_loop.ModelLoop
    streams: bool,
) -> Backend: ...
def onnxruntime_version(library: str) -> str: ...
def onnxruntime_providers(library: str) -> list[str]: ...
def usable_cores() -> int: ...
def bound_allocator(arenas: int) -> None: ...

class SharedMemory:
    """The regions of system shared memory that clients have registered, by name. Thread-safe.

    Keys begin with one of `prefixes`; files belong to the process's user or one of `owners` (uids). At most
    `max_regions`, of `max_bytes` together; copies of inputs that live at a time have `max_copied_bytes`.
    `copies`: no model runs on memory that a client can change.
    """

    def __init__(
        self,
        prefixes: list[str],
        owners: list[int],
        max_regions: int,
        max_bytes: int,
        max_copied_bytes: int,
        copies: bool,
    ) -> None: ...
    def register(self, name: str, key: str, offset: int, byte_size: int) -> None:
        """Open and map a region. Raises InvalidInput (a bad key, size or owner, a name that is taken),
        NotFound (no such file) or Unavailable (a bound is reached)."""

    def unregister(self, name: str) -> None:
        """Requests that use it go on; an unknown name is none of ours."""

    def unregister_all(self) -> None: ...
    def regions(self) -> list[tuple[str, str, int, int]]:
        """Name, key, offset and byte_size of each, by name."""

class WireServer:
    def __init__(self, runtime: Runtime, options: dict[str, Any]) -> None: ...
    def listen(self, kind: str, host: str, port: int, tls: dict[str, Any] | None) -> int: ...
    def reload_tls(self) -> None: ...
    def start(self) -> None: ...
    def announce_drain(self) -> None: ...
    def drain(self) -> None: ...
    def close(self) -> None: ...
    @property
    def connections(self) -> int: ...
    @property
    def requests(self) -> int: ...
    @property
    def access_log_dropped(self) -> int: ...
    def stats(self) -> dict[str, Any]: ...
    @property
    def fd(self) -> int: ...
    # Tuples, by their first item:
    # "request", id, "http" | "grpc" | "admin", method, target, HTTP minor, [(name, value)], body,
    #     peer address, peer port, whether by TLS, subject of the client's certificate
    # "gone", id: its client went away
    # "drained", id: what was held back by reply_body has left
    # "access", listener, method, target, request id, peer address, status, bytes in, bytes out, microseconds
    def take(self) -> list[tuple[Any, ...]]: ...
    def reply_head(self, id: int, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None: ...
    def reply_body(self, id: int, body: bytes, last: bool) -> bool: ...
    def reply_grpc(
        self,
        id: int,
        message: bytes | None,
        status: int | None,
        text: str,
        trailers: Sequence[tuple[str, str]],
    ) -> bool: ...

class Tracing:
    def __init__(self, runtime: Runtime) -> None: ...
    # A rule: on, rate, count (negative: no end), parent based, whether it counts from the beginning.
    def publish(
        self, all: tuple[bool, int, int, bool, bool], models: dict[str, tuple[bool, int, int, bool, bool]]
    ) -> None: ...
    def left(self) -> dict[str, int]: ...
    def describe(self, address: str, http_port: int, grpc_port: int) -> None: ...
    # Sampled requests, whether there are more, and their spans as fields of OTLP's ScopeSpans.
    def take(self, timeout: float, most_bytes: int) -> tuple[int, bool, bytes]: ...
    def wake(self) -> None: ...
    # "recorded", and "dropped" of them.
    def counts(self) -> dict[str, int]: ...

class HttpInfer:
    def __init__(self, runtime: Runtime, options: dict[str, Any]) -> None: ...
    @property
    def fd(self) -> int: ...
    def submit(
        self,
        target: str,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes,
        future: asyncio.Future[tuple[int, list[tuple[bytes, bytes]], bytes]],
    ) -> int: ...
    def flush(self) -> None: ...
    def cancel(self, tag: int) -> None: ...
    def drain(self) -> None: ...

class OnlineStore:
    def __init__(self, path: str, map_bytes: int) -> None: ...
    @staticmethod
    def redis(
        host: str,
        port: int,
        database: int,
        user: str,
        password: str,
        timeout_ms: int,
        write_timeout_ms: int,
        tls: bool,
        ca: str,
        certificate: str,
        key: str,
    ) -> OnlineStore: ...
    def open_view(
        self,
        name: str,
        version: int,
        content_hash: str,
        keys: list[tuple[str, str]],
        columns: list[tuple[str, str]],
        delay_us: int,
        ttl_us: int | None,
        # Of a view with aggregates: what is written, whether the last of it is the events' ids, and the
        # aggregates as sweep_windows has them.
        windowed: tuple[list[tuple[str, str]], bool, list[tuple[int, int, int, int]]] | None = None,
    ) -> OnlineView: ...
    def views(self) -> list[tuple[str, int]]: ...
    def drop_view(self, name: str, version: int) -> None: ...

class OnlineView:
    def write(
        self,
        keys: list[npt.NDArray[Any]],
        event: npt.NDArray[Any],
        known: npt.NDArray[Any],
        sequence: npt.NDArray[Any],
        deleted: npt.NDArray[Any],
        columns: list[npt.NDArray[Any]],
        nulls: list[npt.NDArray[Any] | None],
        now_us: int,
        cursor: bytes | None,
    ) -> int: ...
    def read(
        self, keys: list[npt.NDArray[Any]], now_us: int
    ) -> tuple[npt.NDArray[Any], list[npt.NDArray[Any]], list[npt.NDArray[Any]]]: ...
    def cursor(self) -> bytes | None: ...
    def entities(self) -> int: ...
    @property
    def write_bytes(self) -> int: ...

def point_in_time(
    entity: npt.NDArray[Any],
    event: npt.NDArray[Any],
    known: npt.NDArray[Any],
    sequence: npt.NDArray[Any] | None,
    place: npt.NDArray[Any] | None,
    deleted: npt.NDArray[Any] | None,
    spine_entity: npt.NDArray[Any],
    spine_time: npt.NDArray[Any],
    entities: int,
    delay_us: int,
    ttl_us: int | None,
    threads: int,
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]: ...

# In the order of entities; the spine's times ascend within each. Aggregates: function by number, column or
# -1, window and tile in microseconds. Columns: float64 or int64, and which are valid. Returns the values of
# each aggregate, float64 or int64, and which are valid, as uint8.
def sweep_windows(
    aggregates: Sequence[tuple[int, int, int, int]],
    delay: int,
    entity: npt.NDArray[np.int64],
    event: npt.NDArray[np.int64],
    known: npt.NDArray[np.int64],
    sequence: npt.NDArray[np.int64],
    id: npt.NDArray[np.int64] | None,
    id_valid: npt.NDArray[np.bool_] | None,
    columns: Sequence[tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]],
    spine_entity: npt.NDArray[np.int64],
    spine_time: npt.NDArray[np.int64],
) -> list[tuple[npt.NDArray[Any], npt.NDArray[np.uint8]]]: ...

# Latencies by size; a quantile is off by at most 0.2 %.
class LatencyHistogram:
    def __init__(self) -> None: ...
    def add(self, nanoseconds: int) -> None: ...
    def merge(self, other: LatencyHistogram) -> None: ...
    def quantile_us(self, q: float) -> float: ...
    @property
    def count(self) -> int: ...
    @property
    def mean_us(self) -> float: ...
    @property
    def max_us(self) -> float: ...

# `target`: protocol ("http" or "grpc"), host, port, tls, ca_file ("": this machine's), method, path, headers,
# and requests, each its own headers, a body or gRPC message, and places in it that are written anew each
# time: what ("sequence", "start", "end" or "slot"), as text (else as protobuf), at, base and each
# (csrc/load/place.h). `options`: pace ("closed", "poisson" or "constant"), rate, concurrency, streams,
# threads, and in seconds warm_up, window, timeout; where requests are of sequences, `sequences`: live,
# least_length, most_length, first_id and ids. A window: seconds, cpu_seconds, unsent, answered, reconnects,
# sequences, errors (kind -> count, text), latency and late. `stop` waits up to `grace` seconds for what is
# under way, ends sequences in that time, and returns it as a window of no length, with sequences_left.
class LoadRun:
    def __init__(self, target: Mapping[str, Any], options: Mapping[str, Any]) -> None: ...
    def next(self, timeout: float) -> dict[str, Any] | None: ...
    def stop(self, grace: float) -> dict[str, Any]: ...

# One request of `target`: the status of HTTP or gRPC, the body or message, and gRPC's error text.
def exchange(target: Mapping[str, Any], timeout: float, most_bytes: int) -> tuple[int, bytes, bytes]: ...

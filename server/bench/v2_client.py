"""What a V2 server says of itself and of a model, by HTTP or gRPC: what a benchmark has to know."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote, unquote

from falaj import _core
from falaj._core import InvalidInput, NotFound, Unavailable
from falaj.server.bench.address import Address
from falaj.server.bench.marked import Place
from falaj.server.bench.target import Target
from falaj.server.tensors import Tensor

SERVICE = "/inference.GRPCInferenceService/"
_MOST_BYTES = 16 << 20
_TIMEOUT = 10.0
_NOT_FOUND, _UNIMPLEMENTED, _INVALID = 5, 12, 3
# Of a model's statistics, what a request's time is made of.
PHASES = ("queue", "compute_input", "compute_infer", "compute_output")


class Request(NamedTuple):
    """Header fields of its own, a body or message, and the places in it that are written anew each time."""

    headers: list[tuple[str, str]]
    body: bytes
    places: tuple[Place, ...] = ()


@dataclass(frozen=True)
class Counts:
    """A model's statistics: how often, and in nanoseconds how long, since the server began."""

    success: int
    fail: int
    inferences: int
    executions: int
    phases_ns: tuple[int, ...]
    """Of PHASES, in their order."""
    phases: tuple[int, ...]
    """How many requests each is of."""


class V2Client(Protocol):
    """The same questions by either protocol."""

    def binary(self) -> bool:
        """Whether tensors may be sent as bytes."""

    def inputs(self) -> tuple[Tensor, ...]:
        """Return the model's inputs; none where the server does not say. Raises NotFound, Unavailable."""

    def outputs(self) -> tuple[Tensor, ...]:
        """Return the model's outputs, as `inputs` does."""

    def stateful(self) -> bool | None:
        """Whether the model's requests are of sequences; None where the server does not say."""

    def counts(self) -> Counts | None:
        """Return the model's statistics; None where the server has none."""

    def register(self, region: str, key: str, byte_size: int) -> None:
        """Tell of a region of shared memory. Raises InvalidInput with the server's words where it refuses."""

    def unregister(self, region: str) -> None:
        """Take that back. Raises Unavailable where the server cannot be reached."""

    def infer_once(self, request: Request) -> None:
        """Ask one request. Raises Unavailable with the server's own words where it fails."""

    def load(self, requests: list[Request]) -> dict[str, Any]:
        """Return what the core asks in turn: see `LoadRun` of falaj/_core.pyi."""


def client_of(target: Target) -> V2Client:
    """Return the client for a target's URL. Raises InvalidInput where there is no such."""
    address = Address.of(target.url)
    return HttpClient(target, address) if address.protocol == "http" else GrpcClient(target, address)


class HttpClient:
    """By HTTP."""

    def __init__(self, target: Target, address: Address) -> None:
        self._target, self._address = target, address
        version = "" if target.version is None else f"/versions/{quote(target.version, safe='')}"
        self._model = f"/v2/models/{quote(target.model, safe='')}{version}"

    def binary(self) -> bool:
        """See V2Client."""
        status, answer = self._get("/v2")
        extensions = answer.get("extensions") if isinstance(answer, dict) else None
        return status == 200 and isinstance(extensions, list) and "binary_tensor_data" in extensions

    def inputs(self) -> tuple[Tensor, ...]:
        """See V2Client."""
        return self._tensors("inputs")

    def outputs(self) -> tuple[Tensor, ...]:
        """See V2Client."""
        return self._tensors("outputs")

    def stateful(self) -> bool | None:
        """See V2Client."""
        status, answer = self._get(f"{self._model}/config")
        return _stateful(answer) if status == 200 and isinstance(answer, dict) else None

    def register(self, region: str, key: str, byte_size: int) -> None:
        """See V2Client."""
        asked = json.dumps({"key": key, "offset": 0, "byte_size": byte_size}).encode()
        status, answer = self._ask("POST", f"{_region(region)}/register", asked)
        if status != 200:
            told = answer.get("error") if isinstance(answer, dict) else None
            raise _refused(self._target, key, str(told or f"HTTP status {status}"))

    def unregister(self, region: str) -> None:
        """See V2Client."""
        self._ask("POST", f"{_region(region)}/unregister", b"")

    def _tensors(self, which: str) -> tuple[Tensor, ...]:
        status, answer = self._get(self._model)
        if status != 200:
            told = answer.get("error") if isinstance(answer, dict) else None
            kind = NotFound if status in (400, 404) else Unavailable
            raise kind(f"{self._target.label}: {told or f'its metadata has HTTP status {status}'}")
        rows = answer.get(which) if isinstance(answer, dict) else None
        return tuple(_tensor(row, self._target) for row in (rows if isinstance(rows, list) else ()))

    def counts(self) -> Counts | None:
        """See V2Client."""
        status, answer = self._get(f"{self._model}/stats")
        rows = answer.get("model_stats") if isinstance(answer, dict) else None
        if status != 200 or not isinstance(rows, list):
            return None
        return _counts([row for row in rows if isinstance(row, dict)], self._target)

    def infer_once(self, request: Request) -> None:
        """See V2Client."""
        native = self.load([request._replace(places=())])
        status, body, _ = _core.exchange(native, self._target.timeout_s, _MOST_BYTES)
        if status != 200:
            answer = _json(body)
            told = answer.get("error") if isinstance(answer, dict) else None
            raise Unavailable(f"{self._target.label}: HTTP {status}: {told or _text(body)}")

    def load(self, requests: list[Request]) -> dict[str, Any]:
        """See V2Client."""
        path, target = f"{self._model}/infer", self._target
        return self._address.native("POST", path, requests, headers=target.headers, ca_file=target.ca_file)

    def _get(self, path: str) -> tuple[int, Any]:
        return self._ask("GET", path, b"")

    def _ask(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        target = self._target
        native = self._address.native(
            method, path, [Request([], body)], headers=target.headers, ca_file=target.ca_file
        )
        status, answer, _ = _core.exchange(native, _TIMEOUT, _MOST_BYTES)
        return status, _json(answer)


class GrpcClient:
    """By gRPC."""

    def __init__(self, target: Target, address: Address) -> None:
        self._target, self._address = target, address

    def binary(self) -> bool:
        """See V2Client."""
        return True

    def inputs(self) -> tuple[Tensor, ...]:
        """See V2Client."""
        return self._tensors("inputs")

    def outputs(self) -> tuple[Tensor, ...]:
        """See V2Client."""
        return self._tensors("outputs")

    def stateful(self) -> bool | None:
        """See V2Client."""
        from google.protobuf.json_format import MessageToDict

        status, answer, _ = self._ask_named("ModelConfig")
        if status != 0:
            return None
        return _stateful(MessageToDict(answer.config, preserving_proto_field_name=True))

    def register(self, region: str, key: str, byte_size: int) -> None:
        """See V2Client."""
        asked = {"name": region, "key": key, "offset": 0, "byte_size": byte_size}
        status, _, text = self._ask("SystemSharedMemoryRegister", asked)
        if status != 0:
            raise _refused(self._target, key, text or f"gRPC status {status}")

    def unregister(self, region: str) -> None:
        """See V2Client."""
        self._ask("SystemSharedMemoryUnregister", {"name": region})

    def _tensors(self, which: str) -> tuple[Tensor, ...]:
        status, answer, text = self._ask_named("ModelMetadata")
        if status != 0:
            kind = NotFound if status in (_NOT_FOUND, _INVALID) else Unavailable
            raise kind(f"{self._target.label}: {text or f'its metadata has gRPC status {status}'}")
        rows = [{"name": t.name, "datatype": t.datatype, "shape": [*t.shape]} for t in getattr(answer, which)]
        return tuple(_tensor(row, self._target) for row in rows)

    def counts(self) -> Counts | None:
        """See V2Client."""
        from google.protobuf.json_format import MessageToDict

        status, answer, _ = self._ask_named("ModelStatistics")
        if status != 0:
            return None
        told = MessageToDict(answer, preserving_proto_field_name=True)
        return _counts(told.get("model_stats", []), self._target)

    def infer_once(self, request: Request) -> None:
        """See V2Client."""
        native = self.load([request._replace(places=())])
        status, _, text = _core.exchange(native, self._target.timeout_s, _MOST_BYTES)
        if status != 0:
            raise Unavailable(f"{self._target.label}: gRPC {status}: {unquote(_text(text))}")

    def load(self, requests: list[Request]) -> dict[str, Any]:
        """See V2Client."""
        return self._native("ModelInfer", requests)

    def _native(self, method: str, requests: list[Request]) -> dict[str, Any]:
        target = self._target
        return self._address.native(
            "POST", SERVICE + method, requests, headers=target.headers, ca_file=target.ca_file
        )

    def _ask_named(self, method: str) -> tuple[int, Any, str]:
        return self._ask(method, {"name": self._target.model, "version": self._target.version or ""})

    def _ask(self, method: str, fields: Mapping[str, Any]) -> tuple[int, Any, str]:
        from google.protobuf.message import DecodeError

        from falaj.server.grpc.schema import message

        asked: Any = message(f"inference.{method}Request")(**fields)
        native = self._native(method, [Request([], asked.SerializeToString())])
        status, body, text = _core.exchange(native, _TIMEOUT, _MOST_BYTES)
        answer: Any = message(f"inference.{method}Response")()
        try:
            if status == 0:
                answer.ParseFromString(body)
        except DecodeError as error:
            raise Unavailable(f"{self._target.label}: {method}: the answer is no such message") from error
        return status, answer, unquote(_text(text))


def _tensor(row: object, target: Target) -> Tensor:
    if isinstance(row, Mapping):
        name, datatype, shape = row.get("name"), row.get("datatype"), row.get("shape")
        whole = isinstance(shape, list) and all(isinstance(size, int) and size >= -1 for size in shape)
        if isinstance(name, str) and isinstance(datatype, str) and isinstance(shape, list) and whole:
            return Tensor(name, datatype, tuple(shape))
    raise InvalidInput(f"{target.label}: its metadata has a tensor that makes no sense: {_short(row)}")


def _stateful(config: Mapping[str, Any]) -> bool | None:
    """Read a ModelConfig. Steps of an ensemble, and what a Python model does by itself, it does not tell."""
    if "sequence_batching" in config:
        return True
    unknown = "ensemble_scheduling" in config or config.get("backend") in (None, "", "python")
    return None if unknown else False


def _region(region: str) -> str:
    return f"/v2/systemsharedmemory/region/{quote(region, safe='')}"


def _refused(target: Target, key: str, told: str) -> InvalidInput:
    return InvalidInput(
        f"{target.label}: --shared-memory: the server does not take {key}: {told} (it has to run on this "
        f"machine, `falaj serve` with --allow-shared-memory and a shared_memory.prefix that fits the name)"
    )


def _counts(rows: list[dict[str, Any]], target: Target) -> Counts | None:
    """Add up the versions, or take the one that is asked."""
    taken = [row for row in rows if target.version is None or str(row.get("version")) == target.version]
    if not taken:
        return None
    try:
        stats = [row["inference_stats"] for row in taken]

        def summed(name: str, key: str) -> int:
            return sum(int(stat.get(name, {}).get(key, 0)) for stat in stats)

        return Counts(
            success=summed("success", "count"),
            fail=summed("fail", "count"),
            inferences=sum(int(row.get("inference_count", 0)) for row in taken),
            executions=sum(int(row.get("execution_count", 0)) for row in taken),
            phases_ns=tuple(summed(name, "ns") for name in PHASES),
            phases=tuple(summed(name, "count") for name in PHASES),
        )
    except (KeyError, AttributeError, TypeError, ValueError, OverflowError):
        return None  # it is another's idea of statistics


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _text(body: bytes) -> str:
    return body[:300].decode("utf-8", "replace")


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."

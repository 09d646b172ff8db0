"""Answers the gRPC methods other than infer: a name and a message in, messages out."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message

from falaj import _core
from falaj.server.api.control_plane import ControlPlane
from falaj.server.bridge import GrpcFailure
from falaj.server.grpc.health import Health
from falaj.server.grpc.reflection import reflect
from falaj.server.grpc.schema import message

_STATUSES: tuple[tuple[type[_core.Error], int], ...] = (
    (_core.InvalidInput, 3),
    (_core.NotFound, 5),
    (_core.Unavailable, 14),
    (_core.DeadlineExceeded, 4),
    (_core.Cancelled, 1),
    (_core.Unsupported, 12),
    (_core.InternalError, 13),
)
_UNIMPLEMENTED = 12
_SERVICE = "/inference.GRPCInferenceService/"
_NOT_SERVED = {
    f"{_SERVICE}{name}"
    for name in (
        "SystemSharedMemoryStatus", "SystemSharedMemoryRegister", "SystemSharedMemoryUnregister",
        "CudaSharedMemoryStatus", "CudaSharedMemoryRegister", "CudaSharedMemoryUnregister", "TraceSetting",
    )
}  # fmt: skip


class GrpcMethods:
    """The methods over a control plane. What may take long runs on a thread of its own."""

    def __init__(self, control: ControlPlane) -> None:
        self._control = control
        self._health = Health(control)
        self._unary: dict[str, Callable[[Any], dict[str, Any]]] = {
            "ServerLive": lambda _: {"live": True},
            "ServerReady": lambda _: {"ready": control.why_not_ready() is None},
            "ServerMetadata": lambda _: control.server_metadata(),
            "ModelReady": self._model_ready,
            "ModelMetadata": lambda asked: control.model_metadata(asked.name, _version_of(asked)),
            "ModelConfig": lambda asked: {"config": control.model_config(asked.name, _version_of(asked))},
            "ModelStatistics": lambda asked: control.statistics(asked.name or None, _version_of(asked)),
            "RepositoryIndex": lambda asked: {"models": control.index(asked.ready)},
            "RepositoryModelLoad": self._load,
            "RepositoryModelUnload": self._unload,
            "LogSettings": self._log_settings,
        }

    async def call(self, method: str, body: bytes) -> AsyncIterator[bytes]:
        """Answer one request message of `method` ("/package.Service/Method").

        Raises GrpcFailure: UNIMPLEMENTED for an unknown method, INVALID_ARGUMENT for a message that cannot
        be read, and what the operation fails with.
        """
        try:
            async for reply in self._answers(method, body):
                yield reply
        except _core.Error as error:
            status = next(number for kind, number in _STATUSES if isinstance(error, kind))
            raise GrpcFailure(status, str(error)) from error

    async def _answers(self, method: str, body: bytes) -> AsyncIterator[bytes]:
        if method.startswith(_SERVICE) and (name := method.removeprefix(_SERVICE)) in self._unary:
            asked = _read(f"inference.{name}Request", body)
            told = await asyncio.to_thread(self._unary[name], asked)
            yield _write(f"inference.{name}Response", told)
        elif method == "/grpc.health.v1.Health/Check":
            yield self._health.check(_read("grpc.health.v1.HealthCheckRequest", body))
        elif method == "/grpc.health.v1.Health/List":
            yield self._health.list()
        elif method == "/grpc.health.v1.Health/Watch":
            async for change in self._health.watch(_read("grpc.health.v1.HealthCheckRequest", body)):
                yield change
        elif method.endswith(".ServerReflection/ServerReflectionInfo"):
            package = method[1:].removesuffix(".ServerReflection/ServerReflectionInfo")
            if package not in ("grpc.reflection.v1", "grpc.reflection.v1alpha"):
                raise GrpcFailure(_UNIMPLEMENTED, f"{method}: there is no such method")
            yield reflect(package, _read(f"{package}.ServerReflectionRequest", body))
        elif method in _NOT_SERVED:
            raise GrpcFailure(_UNIMPLEMENTED, f"{method}: this extension is not served")
        else:
            raise GrpcFailure(_UNIMPLEMENTED, f"{method}: there is no such method")

    def _model_ready(self, asked: Any) -> dict[str, Any]:
        try:
            why_not = self._control.why_model_not_ready(asked.name, _version_of(asked))
        except _core.NotFound:
            if not self._control.triton_compat:
                raise
            why_not = "unknown"
        return {"ready": why_not is None}

    def _load(self, asked: Any) -> dict[str, Any]:
        self._control.load(asked.model_name, _values_of(asked.parameters))
        return {}

    def _unload(self, asked: Any) -> dict[str, Any]:
        self._control.unload(asked.model_name, _values_of(asked.parameters))
        return {}

    def _log_settings(self, asked: Any) -> dict[str, Any]:
        values = _values_of(asked.settings)
        if values:
            self._control.logs.update(values)
        return {
            "settings": {
                name: {_log_field(value): value} for name, value in self._control.logs.as_dict().items()
            }
        }


def _log_field(value: bool | int | str) -> str:
    if isinstance(value, bool):
        return "bool_param"
    return "uint32_param" if isinstance(value, int) else "string_param"


def _values_of(parameters: Any) -> dict[str, Any]:
    """A map of oneofs as a plain dict. Raises InvalidInput where a value is not set."""
    values = {}
    for name in parameters:
        which = parameters[name].WhichOneof("choice")
        if which is None:
            raise _core.InvalidInput(f"parameter '{name}' has no value")
        values[name] = getattr(parameters[name], which)
    return values


def _version_of(asked: Any) -> int | None:
    text = asked.version
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise _core.InvalidInput(f"expected a version of 1 or more, got '{text}'")
    return int(text)


def _read(name: str, body: bytes) -> Message:
    asked = message(name)()
    try:
        asked.ParseFromString(body)
    except (DecodeError, UnicodeDecodeError) as error:
        raise _core.InvalidInput(f"not a message of type {name}: {error}") from error
    return asked


def _write(name: str, told: dict[str, Any]) -> bytes:
    return json_format.ParseDict(told, message(name)()).SerializeToString()

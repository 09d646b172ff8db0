"""Answers the gRPC methods other than infer: a name and a message in, messages out."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message

from falaj import _core
from falaj.server.api.control_plane import ControlPlane
from falaj.server.api.shared_regions import CUDA_IS_NOT_SERVED
from falaj.server.grpc.failure import UNIMPLEMENTED, GrpcFailure, failure_of
from falaj.server.grpc.health import Health
from falaj.server.grpc.reflection import reflect
from falaj.server.grpc.schema import message

_SERVICE = "/inference.GRPCInferenceService/"
_HEALTH = "/grpc.health.v1.Health/"
_REFLECTION = {
    f"/{package}.ServerReflection/ServerReflectionInfo": package
    for package in ("grpc.reflection.v1", "grpc.reflection.v1alpha")
}
_NOT_SERVED = {
    f"{_SERVICE}CudaSharedMemory{verb}": CUDA_IS_NOT_SERVED for verb in ("Status", "Register", "Unregister")
}
_Told = dict[str, Any]


class GrpcMethods:
    """The methods over a control plane. For any event loop."""

    def __init__(self, control: ControlPlane) -> None:
        self._control = control
        self._health = Health(control)
        self._inference: dict[str, Callable[[Any], Awaitable[_Told]]] = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ServerMetadata": self._server_metadata,
            "ModelReady": self._model_ready,
            "ModelMetadata": self._model_metadata,
            "ModelConfig": self._model_config,
            "ModelStatistics": self._model_statistics,
            "RepositoryIndex": self._repository_index,
            "RepositoryModelLoad": self._load,
            "RepositoryModelUnload": self._unload,
            "LogSettings": self._log_settings,
            "TraceSetting": self._trace_setting,
            "SystemSharedMemoryStatus": self._shared_memory_status,
            "SystemSharedMemoryRegister": self._register_shared_memory,
            "SystemSharedMemoryUnregister": self._unregister_shared_memory,
        }

    def goes_on(self, method: str) -> bool:
        """Whether the answer to one message may be many, over any time."""
        return method == f"{_HEALTH}Watch"

    async def call(self, method: str, body: bytes) -> AsyncIterator[bytes]:
        """Answer one request message of `method` ("/package.Service/Method").

        Raises GrpcFailure: UNIMPLEMENTED for an unknown method, INVALID_ARGUMENT for a message that cannot
        be read, and what the operation fails with.
        """
        try:
            if self.goes_on(method):
                async for change in self._health.watch(_read("grpc.health.v1.HealthCheckRequest", body)):
                    yield change
            else:
                yield await self._answer(method, body)
        except _core.Error as error:
            raise failure_of(error) from error

    async def _answer(self, method: str, body: bytes) -> bytes:
        name = method.rpartition("/")[2]
        if method.startswith(_SERVICE) and name in self._inference:
            told = await self._inference[name](_read(f"inference.{name}Request", body))
            return _write(f"inference.{name}Response", told)
        if method == f"{_HEALTH}Check":
            return self._health.check(_read("grpc.health.v1.HealthCheckRequest", body))
        if method == f"{_HEALTH}List":
            return self._health.list()
        if method in _REFLECTION:
            package = _REFLECTION[method]
            return reflect(package, _read(f"{package}.ServerReflectionRequest", body))
        if method in _NOT_SERVED:
            raise GrpcFailure(UNIMPLEMENTED, f"{method}: {_NOT_SERVED[method]}")
        raise GrpcFailure(UNIMPLEMENTED, f"{method}: there is no such method")

    async def _server_live(self, _asked: Any) -> _Told:
        return {"live": True}

    async def _server_ready(self, _asked: Any) -> _Told:
        return {"ready": self._control.why_not_ready() is None}

    async def _server_metadata(self, _asked: Any) -> _Told:
        return self._control.server_metadata()

    async def _model_ready(self, asked: Any) -> _Told:
        return {"ready": self._control.why_model_not_ready(*self._model_of(asked)) is None}

    async def _model_metadata(self, asked: Any) -> _Told:
        return self._control.model_metadata(*self._model_of(asked))

    async def _model_config(self, asked: Any) -> _Told:
        return {"config": self._control.model_config(*self._model_of(asked))}

    async def _model_statistics(self, asked: Any) -> _Told:
        name, version = self._model_of(asked)
        return self._control.statistics(name or None, version)

    async def _repository_index(self, asked: Any) -> _Told:
        _check_repository(asked.repository_name)
        return {"models": await asyncio.to_thread(self._control.index, asked.ready)}

    async def _load(self, asked: Any) -> _Told:
        _check_repository(asked.repository_name)
        await self._control.run(self._control.load, asked.model_name, _values_of(asked.parameters))
        return {}

    async def _unload(self, asked: Any) -> _Told:
        _check_repository(asked.repository_name)
        await self._control.run(self._control.unload, asked.model_name, _values_of(asked.parameters))
        return {}

    async def _log_settings(self, asked: Any) -> _Told:
        settings = self._control.change_log_settings(_values_of(asked.settings))
        return {"settings": {name: {_log_field(value): value} for name, value in settings.items()}}

    async def _trace_setting(self, asked: Any) -> _Told:
        values = {name: list(given.value) or None for name, given in asked.settings.items()}
        settings = self._control.change_trace_settings(asked.model_name or None, values)
        told = {name: [value] if isinstance(value, str) else value for name, value in settings.items()}
        return {"settings": {name: {"value": value} for name, value in told.items()}}

    async def _shared_memory_status(self, asked: Any) -> _Told:
        return {"regions": {row["name"]: row for row in self._control.regions.status(asked.name)}}

    async def _register_shared_memory(self, asked: Any) -> _Told:
        self._control.regions.register(asked.name, asked.key, asked.offset, asked.byte_size)
        return {}

    async def _unregister_shared_memory(self, asked: Any) -> _Told:
        self._control.regions.unregister(asked.name)
        return {}

    def _model_of(self, asked: Any) -> tuple[str, int | None]:
        return asked.name, self._control.version_of(asked.version)


def _check_repository(name: str) -> None:
    if name:
        raise _core.Unsupported(f"repository '{name}': there is one repository, which has no name")


def _log_field(value: bool | int | str) -> str:
    if isinstance(value, bool):
        return "bool_param"
    return "uint32_param" if isinstance(value, int) else "string_param"


def _values_of(parameters: Any) -> dict[str, Any]:
    """Return a map of oneofs as a plain dict. Raises InvalidInput where a value is not set."""
    values = {}
    for name in parameters:
        which = parameters[name].WhichOneof("choice")
        if which is None:
            raise _core.InvalidInput(f"parameter '{name}' has no value")
        values[name] = getattr(parameters[name], which)
    return values


def _read(name: str, body: bytes) -> Message:
    asked = message(name)()
    try:
        asked.ParseFromString(body)
    except (DecodeError, UnicodeDecodeError) as error:
        raise _core.InvalidInput(f"not a message of type {name}: {error}") from error
    return asked


def _write(name: str, told: _Told) -> bytes:
    return json_format.ParseDict(told, message(name)()).SerializeToString()

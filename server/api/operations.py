"""The protocol's HTTP operations over a control plane."""

import asyncio
import base64
import binascii
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from falaj import _core
from falaj.server.api import shapes
from falaj.server.api.bodies import read_body, read_json
from falaj.server.api.control_plane import ControlPlane
from falaj.server.api.errors import json_response
from falaj.server.api.feature_operations import FeatureOperations
from falaj.server.api.generate import Generation
from falaj.server.api.infer import HttpInferCalls
from falaj.server.api.routing import Operation
from falaj.server.api.shared_memory_operations import SharedMemoryOperations
from falaj.server.api.shared_regions import CUDA_IS_NOT_SERVED

_MODEL = "/v2/models/{model}"
_VERSION = "/v2/models/{model}/versions/{version}"
_ASKED = (400, 404, 413, 499, 501, 503, 504)
# Known paths of an extension that this server does not have.
_CUDA = [
    (method, f"/v2/cudasharedmemory{region}/{verb}")
    for region in ("", "/region/{region}")
    for method, verb in (("GET", "status"), ("POST", "register"), ("POST", "unregister"))
]


class Operations:
    """The endpoints.

    Args:
        control: what they ask.
        infer: answers infer requests; None: they are answered before they come here.
        max_body_bytes: bodies above this are refused.
    """

    def __init__(self, control: ControlPlane, infer: HttpInferCalls | None, max_body_bytes: int) -> None:
        self._control = control
        self._infer = infer
        self._max_body = max_body_bytes

    def table(self) -> list[Operation]:
        """Every operation of the protocol. Paths that others could be taken for come first."""
        features = FeatureOperations(self._control.features, self._max_body).table()
        own = [*self.health(), *self._models(), *self._repository(), *self._logging(), *self._tracing()]
        shared = SharedMemoryOperations(self._control.regions, self._max_body).table()
        return [*own, *features, *shared, *self._unserved()]

    def health(self) -> list[Operation]:
        """Those that probes ask."""
        tag, not_ready = "Health", 400 if self._control.triton_compat else 503
        return [
            Operation(
                "GET", "/v2/health/live", self._live, "Whether the server answers", tag, None,
                None if self._control.triton_compat else shapes.Live,
            ),
            Operation(
                "GET", "/v2/health/ready", self._ready, "Whether the server should be asked", tag, None,
                None if self._control.triton_compat else shapes.Ready, (not_ready,),
            ),
        ]  # fmt: skip

    def _models(self) -> list[Operation]:
        tag, missing = "Models", (400, 404, 503)
        table = [
            Operation("GET", "/v2", self._server, "What this server is", tag, None, shapes.ServerMetadata),
            Operation("GET", "/v2/models", self._names, "The known models", tag, None, shapes.ModelNames),
            Operation("GET", "/v2/models/stats", self._all_stats, "Statistics of all that is in service",
                      tag, None, shapes.Statistics),
        ]  # fmt: skip
        for path in (_MODEL, _VERSION):
            table += [
                Operation("GET", path, self._metadata, "What a model takes and gives",
                          tag, None, shapes.ModelMetadata, missing),
                Operation("GET", f"{path}/ready", self._model_ready, "Whether a model answers", "Health",
                          None, None if self._control.triton_compat else shapes.ModelReady, missing),
                Operation("GET", f"{path}/config", self._config, "Its configuration in force (ModelConfig)",
                          tag, None, dict[str, Any], missing),
                Operation("GET", f"{path}/stats", self._stats, "Its statistics",
                          tag, None, shapes.Statistics, missing),
                Operation("POST", f"{path}/infer", self._infer_one, "Ask a model", "Inference",
                          shapes.InferRequest, shapes.InferResponse, (400, 404, 413, 499, 501, 503, 504),
                          binary=True),
                Operation("POST", f"{path}/generate", self._generate, "Ask a model in plain JSON",
                          "Inference", dict[str, Any], dict[str, Any], _ASKED),
                Operation("POST", f"{path}/generate_stream", self._generate_stream,
                          "Ask a model in plain JSON; each answer is a server-sent event", "Inference",
                          dict[str, Any], None, _ASKED),
            ]  # fmt: skip
        return table

    def _repository(self) -> list[Operation]:
        tag, path = "Repository", "/v2/repository/models/{model}"
        return [
            Operation("POST", "/v2/repository/index", self._index, "What is there and in which state", tag,
                      shapes.IndexRequest, list[shapes.IndexEntry], (400, 413)),
            Operation("POST", f"{path}/load", self._load, "Load a model, or load it anew", tag,
                      shapes.LoadRequest, None, (400, 403, 404, 413, 501, 503), changes=True),
            Operation("POST", f"{path}/unload", self._unload, "Take a model out of service", tag,
                      shapes.UnloadRequest, None, (400, 403, 404, 413, 503), changes=True),
        ]  # fmt: skip

    def _logging(self) -> list[Operation]:
        tag = "Logging"
        return [
            Operation("GET", "/v2/logging", self._log_settings, "What is written down", tag, None,
                      shapes.LogSettings, (501,)),
            Operation("POST", "/v2/logging", self._change_log_settings, "Change that", tag,
                      shapes.LogChanges, shapes.LogSettings, (400, 403, 413, 501), changes=True),
        ]  # fmt: skip

    def _tracing(self) -> list[Operation]:
        served = self._control.traces_requests
        tag = "Tracing" if served else "Not served"
        changes, told = (shapes.TraceChanges, shapes.TraceSettings) if served else (None, None)
        table = []
        for path, of, missing in (("/v2", "of all models", ()), (_MODEL, "of a model", (404,))):
            table += [
                Operation("GET", f"{path}/trace/setting", self._trace_settings, f"What is traced, {of}", tag,
                          None, told, (501, *missing)),
                Operation("POST", f"{path}/trace/setting", self._change_trace_settings,
                          f"Change what is traced, {of}", tag, changes, told, (400, 403, 413, 501, *missing),
                          changes=True),
            ]  # fmt: skip
        return table

    def _unserved(self) -> list[Operation]:
        return [
            Operation(method, path, self._no_cuda, "CUDA shared memory", "Not served", failures=(501,))
            for method, path in _CUDA
        ]

    async def _live(self, _request: Request) -> Response:
        return Response() if self._control.triton_compat else json_response({"live": True})

    async def _ready(self, _request: Request) -> Response:
        return self._readiness(self._control.why_not_ready(), {})

    async def _model_ready(self, request: Request) -> Response:
        name, version = self._model_of(request)
        return self._readiness(self._control.why_model_not_ready(name, version), {"name": name})

    def _readiness(self, why_not: str | None, told: dict[str, Any]) -> Response:
        if self._control.triton_compat:
            return Response(status_code=200 if why_not is None else 400)
        if why_not is None:
            return json_response({**told, "ready": True})
        return json_response({**told, "ready": False, "error": why_not}, 503, {"retry-after": "1"})

    async def _server(self, _request: Request) -> Response:
        return json_response(self._control.server_metadata())

    async def _names(self, _request: Request) -> Response:
        return json_response({"models": self._control.model_names()})

    async def _metadata(self, request: Request) -> Response:
        return json_response(self._control.model_metadata(*self._model_of(request)))

    async def _config(self, request: Request) -> Response:
        return json_response(self._control.model_config(*self._model_of(request)))

    async def _all_stats(self, _request: Request) -> Response:
        return json_response(self._control.statistics(None, None))

    async def _stats(self, request: Request) -> Response:
        return json_response(self._control.statistics(*self._model_of(request)))

    async def _index(self, request: Request) -> Response:
        asked = await read_json(request, shapes.IndexRequest, self._max_body)
        return json_response(await asyncio.to_thread(self._control.index, asked.ready))

    async def _load(self, request: Request) -> Response:
        asked = await read_json(request, shapes.LoadRequest, self._max_body)
        parameters = {key: _decoded(key, text) for key, text in asked.parameters.items()}
        await self._control.run(self._control.load, request.path_params["model"], parameters)
        return Response()

    async def _unload(self, request: Request) -> Response:
        asked = await read_json(request, shapes.UnloadRequest, self._max_body)
        parameters = {"unload_dependents": asked.parameters.unload_dependents}
        await self._control.run(self._control.unload, request.path_params["model"], parameters)
        return Response()

    async def _log_settings(self, _request: Request) -> Response:
        return json_response(self._control.log_settings())

    async def _change_log_settings(self, request: Request) -> Response:
        asked = await read_json(request, dict[str, Any], self._max_body)
        changes = {name: value for name, value in asked.items() if value is not None}
        return json_response(self._control.change_log_settings(changes))

    async def _trace_settings(self, request: Request) -> Response:
        return json_response(self._control.trace_settings(request.path_params.get("model")))

    async def _change_trace_settings(self, request: Request) -> Response:
        asked = await read_json(request, dict[str, Any], self._max_body)
        changed = self._control.change_trace_settings(request.path_params.get("model"), asked)
        return json_response(changed)

    async def _infer_one(self, request: Request) -> Response:
        if self._infer is None:
            raise _core.Unsupported("infer is not answered on this port")
        body = await read_body(request, self._max_body)
        return await self._infer.answer(request, body)

    async def _no_cuda(self, request: Request) -> Response:
        raise _core.Unsupported(f"{request.scope['path']}: {CUDA_IS_NOT_SERVED}")

    async def _generate(self, request: Request) -> Response:
        return json_response(await self._asked(request, await self._body(request)).only())

    async def _generate_stream(self, request: Request) -> Response:
        return await self._asked(request, await self._body(request)).events(request)

    async def _body(self, request: Request) -> dict[str, Any]:
        return await read_json(request, dict[str, Any], self._max_body, has_nan=True)

    def _asked(self, request: Request, body: dict[str, Any]) -> Generation:
        return Generation(self._control, *self._model_of(request), body)

    def _model_of(self, request: Request) -> tuple[str, int | None]:
        """The model and version of the path. Raises InvalidInput."""
        parameters = request.path_params
        return parameters["model"], self._control.version_of(parameters.get("version", ""))


def _decoded(key: str, text: str) -> str | bytes:
    """A load parameter as the control plane takes it: files are base64 in JSON."""
    if not key.startswith("file:"):
        return text
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _core.InvalidInput(f"load parameter '{key}' is not base64: {error}") from error

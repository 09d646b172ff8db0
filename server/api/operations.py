"""The protocol's HTTP operations over a control plane."""

import asyncio
import json
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from falaj import _core
from falaj.server.api.control_plane import ControlPlane
from falaj.server.api.errors import json_response
from falaj.server.api.infer import HttpInferCalls
from falaj.server.api.routing import Operation


class Operations:
    """The endpoints. What may take long, loading and unloading, runs on a thread of its own."""

    def __init__(self, control: ControlPlane, infer: HttpInferCalls | None) -> None:
        self._control = control
        self._infer = infer

    def table(self) -> list[Operation]:
        """Every operation of the protocol that is served."""
        model, version = "/v2/models/{model}", "/v2/models/{model}/versions/{version}"
        operations = [
            Operation("GET", "/v2", self._server, "Server metadata", response="ServerMetadata"),
            Operation("GET", "/v2/health/live", self._live, "Is the server alive?", response="Live"),
            Operation("GET", "/v2/health/ready", self._ready, "Should it be asked?", response="Ready"),
            Operation("GET", "/v2/models", self._models, "Names of the models", response="Models"),
            Operation("GET", "/v2/models/stats", self._stats, "Statistics of all", response="Statistics"),
            Operation("POST", "/v2/repository/index", self._index, "What is there", "Index", "Index"),
            Operation("POST", "/v2/repository/models/{model}/load", self._load, "Load a model", "Load"),
            Operation("POST", "/v2/repository/models/{model}/unload", self._unload, "Unload it", "Unload"),
            Operation("GET", "/v2/logging", self._logging, "Log settings", response="Logging"),
            Operation("POST", "/v2/logging", self._set_logging, "Change them", "Logging", "Logging"),
        ]
        for path in (model, version):
            operations += [
                Operation("GET", path, self._metadata, "Model metadata", response="ModelMetadata"),
                Operation("GET", f"{path}/ready", self._model_ready, "Does it answer?", response="Ready"),
                Operation("GET", f"{path}/config", self._config, "Configuration", response="ModelConfig"),
                Operation("GET", f"{path}/stats", self._stats, "Statistics", response="Statistics"),
                Operation("POST", f"{path}/infer", self._infer_one, "Infer", "Infer", "InferAnswer"),
            ]
        return operations + [
            Operation(method, path, self._unserved, "Not served") for method, path in _UNSERVED
        ]

    async def _server(self, _request: Request) -> Response:
        return json_response(self._control.server_metadata())

    async def _live(self, _request: Request) -> Response:
        return Response() if self._control.triton_compat else json_response({"live": True})

    async def _ready(self, _request: Request) -> Response:
        return self._readiness(self._control.why_not_ready(), {})

    async def _model_ready(self, request: Request) -> Response:
        name, version = _model_of(request)
        try:
            why_not = self._control.why_model_not_ready(name, version)
        except _core.NotFound:
            if not self._control.triton_compat:
                raise
            why_not = "unknown"
        return self._readiness(why_not, {"name": name})

    def _readiness(self, why_not: str | None, told: dict[str, Any]) -> Response:
        if self._control.triton_compat:
            return Response(status_code=200 if why_not is None else 400)
        if why_not is None:
            return json_response({**told, "ready": True})
        return json_response({**told, "ready": False, "error": why_not}, 503, {"retry-after": "1"})

    async def _models(self, _request: Request) -> Response:
        return json_response({"models": self._control.model_names()})

    async def _metadata(self, request: Request) -> Response:
        return json_response(self._control.model_metadata(*_model_of(request)))

    async def _config(self, request: Request) -> Response:
        return json_response(self._control.model_config(*_model_of(request)))

    async def _stats(self, request: Request) -> Response:
        if "model" not in request.path_params:
            return json_response(self._control.statistics(None, None))
        return json_response(self._control.statistics(*_model_of(request)))

    async def _index(self, request: Request) -> Response:
        asked = await _object_of(request)
        ready = asked.pop("ready", False)
        if not isinstance(ready, bool):
            raise _core.InvalidInput("index: expected `ready` to be true or false")
        return json_response(self._control.index(ready))

    async def _load(self, request: Request) -> Response:
        parameters = await _parameters_of(request)
        await asyncio.to_thread(self._control.load, request.path_params["model"], parameters)
        return Response()

    async def _unload(self, request: Request) -> Response:
        parameters = await _parameters_of(request)
        await asyncio.to_thread(self._control.unload, request.path_params["model"], parameters)
        return Response()

    async def _logging(self, _request: Request) -> Response:
        return json_response(self._control.logs.as_dict())

    async def _set_logging(self, request: Request) -> Response:
        self._control.logs.update(await _object_of(request))
        return json_response(self._control.logs.as_dict())

    async def _infer_one(self, request: Request) -> Response:
        if self._infer is None:
            raise _core.Unsupported("infer is answered by the native listener")
        return await self._infer(request)

    async def _unserved(self, request: Request) -> Response:
        raise _core.Unsupported(f"{request.url.path}: this extension is not served")


# Known paths of extensions that this server does not have.
_UNSERVED = [
    (method, f"{path}/trace/setting") for path in ("/v2", "/v2/models/{model}") for method in ("GET", "POST")
] + [
    (method, f"/v2/{kind}sharedmemory{region}/{verb}")
    for kind in ("system", "cuda")
    for region in ("", "/region/{region}")
    for method, verb in (("GET", "status"), ("POST", "register"), ("POST", "unregister"))
]


def _model_of(request: Request) -> tuple[str, int | None]:
    """The model and version of the path. Raises InvalidInput where the version is no number of 1 or more."""
    text = request.path_params.get("version")
    if text is None:
        return request.path_params["model"], None
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise _core.InvalidInput(f"expected a version of 1 or more in the path, got '{text}'")
    return request.path_params["model"], int(text)


async def _object_of(request: Request) -> dict[str, Any]:
    """The JSON object of the body; an empty body is an empty object. Raises InvalidInput."""
    body = await request.body()
    if not body.strip():
        return {}
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _core.InvalidInput(f"the request's body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise _core.InvalidInput("the request's body: expected a JSON object")
    return value


async def _parameters_of(request: Request) -> dict[str, Any]:
    asked = await _object_of(request)
    parameters = asked.pop("parameters", {})
    if asked:
        raise _core.InvalidInput(f"unknown key '{next(iter(asked))}'; expected parameters")
    if not isinstance(parameters, dict):
        raise _core.InvalidInput("parameters: expected an object")
    return parameters

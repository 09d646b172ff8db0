"""The server inside an ASGI server, without listeners of its own:

    FALAJ_SERVER_REPOSITORY=models uvicorn --factory falaj.server.api.asgi:create_app

It answers as `falaj serve` does by HTTP, more slowly; the log is the ASGI server's.
"""

import asyncio
from pathlib import Path

from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from falaj import _core
from falaj.server.api.app import make_app
from falaj.server.api.control_plane import ControlPlane
from falaj.server.api.errors import error_response
from falaj.server.api.infer import HttpInferCalls
from falaj.server.engine import Engine
from falaj.server.feature_service import FeatureService
from falaj.server.ops.settings import Settings, load_settings


def create_app(settings: Settings | None = None) -> "EngineApp":
    """Return an app that loads its models when its server starts it. Settings: the environment's and
    falaj.toml's by default. Raises ConfigError."""
    return EngineApp(load_settings() if settings is None else settings)


class EngineApp:
    """An ASGI app that owns an engine from the lifespan's beginning to its end."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._app: Starlette | None = None  # between startup and shutdown
        self._engine: Engine | None = None  # the same
        self._is_stopping = False

    @property
    def engine(self) -> Engine | None:
        """The engine, between startup and shutdown, for those who ask it beside the server."""
        return self._engine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI connection."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif self._app is not None:
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            text = "the models are not loaded: this app needs the ASGI server's lifespan"
            await error_response(503, text)(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()  # lifespan.startup
        try:
            engine = await asyncio.to_thread(self._load)
        except _core.Error as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        server = self._settings.server
        shared_memory = self._settings.shared_memory.open()
        control = ControlPlane(
            engine,
            triton_compat=server.compat == "triton",
            is_draining=lambda: self._is_stopping,
            stuck_after=server.stuck_after,
            may_change=server.model_control == "explicit",
            features=FeatureService(
                engine.features, Path(server.data_dir), may_push=self._settings.features.push
            ),
            shared_memory=shared_memory,
        )
        options = self._settings.wire_options() | {"shared_memory": shared_memory}
        infer = HttpInferCalls(engine.runtime, options)
        try:
            self._app = make_app(control, infer, max_body_bytes=self._settings.http.max_body_bytes)
            self._engine = engine
            await send({"type": "lifespan.startup.complete"})
            await receive()  # lifespan.shutdown: the server has answered what it had accepted
        finally:
            self._app, self._engine, self._is_stopping = None, None, True
            infer.close()
            control.close()
            await asyncio.to_thread(engine.close)
        await send({"type": "lifespan.shutdown.complete"})

    def _load(self) -> Engine:
        server = self._settings.server
        return Engine(
            server.repository,
            cores=server.cores,
            watch=server.watch_seconds,
            models=None if server.load == ("*",) else server.load,
            features=self._settings.online_store(),
            strict=server.strict,
        )

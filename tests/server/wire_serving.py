"""The native front end, the bridge and the apps in this process, on free ports."""

import asyncio
import threading
from types import TracebackType
from typing import Any

import uvloop

import falaj
from falaj import _core
from falaj.server.api.app import make_admin_app, make_app
from falaj.server.api.control_plane import ControlPlane
from falaj.server.bridge import Bridge
from falaj.server.grpc.methods import GrpcMethods


class WireServing:
    """Serves one engine until the context is left.

    Attributes:
        ports: Of "http", "grpc" and "admin".
        access: Lines of the access log, in the order in which they came.
        bridge: For tests that look into it, on its loop: see `on_loop`.
    """

    def __init__(self, engine: falaj.Engine, control: ControlPlane | None = None, **options: Any) -> None:
        self.control = control or ControlPlane(engine)
        self.access: list[tuple[Any, ...]] = []
        self._wire = _core.WireServer(
            engine.runtime, {"io_threads": 1, "access_log_per_million": 10**6} | options
        )
        self.ports = {
            kind: self._wire.listen(kind, "127.0.0.1", 0, None) for kind in ("http", "grpc", "admin")
        }
        self.loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        app = make_app(self.control, None)
        admin = make_admin_app(self.control, lambda _accept: (b"up 1\n", "text/plain"))
        self.bridge = Bridge(self._wire, app, admin, GrpcMethods(self.control), self.access.append)

    def url(self, kind: str = "http") -> str:
        return f"127.0.0.1:{self.ports[kind]}"

    def stats(self) -> dict[str, Any]:
        """What the front end counts."""
        return self._wire.stats()

    def on_loop(self, run: Any) -> Any:
        """Run a coroutine on the bridge's loop; return what it does."""
        return asyncio.run_coroutine_threadsafe(run, self.loop).result(60)

    def __enter__(self) -> "WireServing":
        self._thread.start()

        async def attach() -> None:
            self.bridge.attach(self.loop)

        self.on_loop(attach())
        self._wire.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.on_loop(self.bridge.close())
        self._wire.close()
        self.control.close()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

"""`python -m tests.conformance.asgi_server REPOSITORY`: Falaj's app, infer included, under uvicorn.

Like `falaj serve` it says by one line of JSON when it is ready, and ends on SIGTERM.
"""

import asyncio
import json
import signal
import socket
import sys

import uvicorn

from falaj.server.api.app import make_app
from falaj.server.api.control_plane import ControlPlane
from falaj.server.api.infer import HttpInferCalls
from falaj.server.engine import Engine
from falaj.server.ops.logs import configure
from falaj.server.ops.settings import load_settings


async def serve(repository: str) -> None:
    """Serve until told to end."""
    settings = load_settings(environment={})
    logs = configure(settings.log)
    with Engine(repository, strict=False) as engine, socket.create_server(("127.0.0.1", 0)) as listening:
        infer = HttpInferCalls(engine.runtime, settings.wire_options())
        control = ControlPlane(
            engine, triton_compat=False, logs=logs.settings, is_draining=lambda: server.should_exit
        )
        app = make_app(control, infer, max_body_bytes=settings.http.max_body_bytes)
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
        print(json.dumps({"event": "ready", "http": listening.getsockname()[1]}), flush=True)
        await server.serve(sockets=[listening])
        infer.close()
        control.close()
    logs.close()


if __name__ == "__main__":
    # uvicorn ends the loop on SIGTERM, then raises the signal again for whoever had it before.
    signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    asyncio.run(serve(sys.argv[1]))

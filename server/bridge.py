"""The control plane's end of the bridge: answers what the native listeners do not answer themselves."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes

from starlette.types import ASGIApp, Message, Scope

from falaj import _core

_log = logging.getLogger("falaj.bridge")
_Headers = list[tuple[bytes, bytes]]


class GrpcCalls(Protocol):
    """Answers the gRPC methods other than infer."""

    def call(self, method: str, message: bytes) -> Any:
        """Return an async iterator of response messages. It raises GrpcFailure."""


class GrpcFailure(Exception):
    """A gRPC status other than OK.

    Args:
        status: its number.
        text: its message.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class Bridge:
    """Runs the apps for what comes over the bridge. Belongs to one event loop.

    Args:
        wire: the native front end.
        app: answers the protocol's port.
        admin_app: answers the administration port.
        grpc: answers gRPC.
        on_access: takes each line of the access log, as `WireServer.take` describes it.
    """

    def __init__(
        self,
        wire: _core.WireServer,
        app: ASGIApp,
        admin_app: ASGIApp,
        grpc: GrpcCalls,
        on_access: Callable[[tuple[Any, ...]], None],
    ) -> None:
        self._wire = wire
        self._apps = {"http": app, "admin": admin_app}
        self._grpc = grpc
        self._on_access = on_access
        self._calls: dict[int, _Call] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to answer, on `loop`."""
        self._loop = loop
        loop.add_reader(self._wire.fd, self._take)

    async def close(self) -> None:
        """Stop answering; what is under way is cancelled."""
        if self._loop is not None:
            self._loop.remove_reader(self._wire.fd)
        tasks = [call.task for call in self._calls.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _take(self) -> None:
        for event in self._wire.take():
            kind = event[0]
            if kind == "request":
                self._begin(event)
            elif kind == "access":
                self._on_access(event)
            elif (call := self._calls.get(event[1])) is not None:
                call.leave() if kind == "gone" else call.go_on()

    def _begin(self, event: tuple[Any, ...]) -> None:
        assert self._loop is not None
        id, kind = event[1], event[2]
        if kind == "grpc":
            call = _Call(self._loop, self._answer_grpc(id, event))
        else:
            exchange = _Exchange(self._wire, id, event[7])
            call = _Call(
                self._loop, self._answer_http(exchange, self._apps[kind], _scope_of(event)), exchange
            )
        self._calls[id] = call
        call.task.add_done_callback(lambda _task: self._calls.pop(id, None))

    async def _answer_http(self, exchange: "_Exchange", app: ASGIApp, scope: Scope) -> None:
        try:
            await app(scope, exchange.receive, exchange.send)
        except asyncio.CancelledError:
            raise
        except Exception:
            _log.exception("%s %s failed", scope["method"], scope["path"])
        if not exchange.gone.is_set():
            exchange.end()

    async def _answer_grpc(self, id: int, event: tuple[Any, ...]) -> None:
        method, message = event[4].decode("latin-1"), event[7]
        status, text = 0, ""
        try:
            async for reply in self._grpc.call(method, message):
                self._wire.reply_grpc(id, reply, None, "", [])
        except GrpcFailure as failure:
            status, text = failure.status, failure.text
        except asyncio.CancelledError:
            raise
        except Exception as error:
            _log.exception("%s failed", method)
            status, text = 13, f"internal error: {type(error).__name__}"
        self._wire.reply_grpc(id, None, status, text, [])


class _Call:
    """A request under way."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, run: Any, exchange: "_Exchange | None" = None
    ) -> None:
        self.task: asyncio.Task[None] = loop.create_task(run)
        self._exchange = exchange

    def leave(self) -> None:
        """Its client went away."""
        if self._exchange is not None:
            self._exchange.gone.set()
        self.task.cancel()

    def go_on(self) -> None:
        """What was held back has left."""
        if self._exchange is not None:
            self._exchange.may_send.set()


class _Exchange:
    """The ASGI side of one HTTP request."""

    def __init__(self, wire: _core.WireServer, id: int, body: bytes) -> None:
        self._wire = wire
        self._id = id
        self._body: bytes | None = body
        self._begun = False
        self._ended = False
        self.gone = asyncio.Event()
        self.may_send = asyncio.Event()
        self.may_send.set()

    async def receive(self) -> Message:
        """Give the whole body, then wait for the client to leave."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Take a part of the answer; wait while too much of it is on its way."""
        if message["type"] == "http.response.start":
            self._begun = True
            headers: _Headers = [(bytes(name), bytes(value)) for name, value in message.get("headers", [])]
            self._wire.reply_head(self._id, message["status"], headers)
        elif message["type"] == "http.response.body" and not self._ended:
            self._ended = not message.get("more_body", False)
            await self.may_send.wait()
            if not self._wire.reply_body(self._id, bytes(message.get("body", b"")), self._ended):
                self.may_send.clear()

    def end(self) -> None:
        """Finish what the app left unfinished."""
        if self._ended:
            return
        if not self._begun:
            body = b'{"error":"internal error"}'
            self._wire.reply_head(self._id, 500, [(b"content-type", b"application/json")])
            self._wire.reply_body(self._id, body, True)
        else:
            self._wire.reply_body(self._id, b"", True)
        self._ended = True


def _scope_of(event: tuple[Any, ...]) -> Scope:
    (_, _, _, method, target, minor, headers, _, address, port, tls, subject) = event
    path, _, query = target.partition(b"?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": f"1.{minor}",
        "method": method.decode("latin-1"),
        "scheme": "https" if tls else "http",
        "path": unquote_to_bytes(path).decode("utf-8", "replace"),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": headers,
        "client": (address, port),
        "server": None,
        "state": {},
        "extensions": {"falaj": {"tls": tls, "certificate_subject": subject}},
    }

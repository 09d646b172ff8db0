"""The control plane's end of the bridge: answers what the native listeners do not answer themselves."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Protocol

from starlette.types import ASGIApp

from falaj.server.exchange import Exchange, Wire, refuse_http, scope_of
from falaj.server.grpc.failure import INTERNAL, GrpcFailure

_log = logging.getLogger("falaj.bridge")

Event = tuple[Any, ...]
_BUSY = "too many requests wait for the control plane; try again later"
_UNAVAILABLE = 14


class GrpcCalls(Protocol):
    """Answers the gRPC methods other than infer."""

    def goes_on(self, method: str) -> bool:
        """Whether the answer to one message may be many, over any time."""

    def call(self, method: str, body: bytes) -> AsyncIterator[bytes]:
        """Answer one message of "/package.Service/Method". Raises GrpcFailure."""


class Bridge:
    """Runs the apps for what comes over the bridge. Belongs to one event loop.

    1. Every request is answered once, unless its client goes away first: then its task is cancelled.
    2. At most `max_running` are being answered, not counting those that go on for as long as their client
       likes; others wait in the order in which they came, and beyond `max_waiting` they are refused.
    3. Bodies of requests that run or wait are `max_held_bytes` together at most; a single one may be larger.

    Args:
        wire: the native front end.
        app: answers the protocol's port.
        admin_app: answers the administration port.
        grpc: answers gRPC.
        on_access: takes each line of the access log, as `WireServer.take` describes it.
    """

    def __init__(
        self,
        wire: Wire,
        app: ASGIApp,
        admin_app: ASGIApp,
        grpc: GrpcCalls,
        on_access: Callable[[Event], None],
        *,
        max_running: int = 256,
        max_waiting: int = 4096,
        max_held_bytes: int = 1 << 30,
    ) -> None:
        self._wire = wire
        self._apps = {"http": app, "admin": admin_app}
        self._grpc = grpc
        self._on_access = on_access
        self._max_running = max_running
        self._max_waiting = max_waiting
        self._max_held = max_held_bytes
        self._running: dict[int, _Call] = {}
        self._waiting: dict[int, Event] = {}  # in the order in which they came
        self._counted = 0  # of _running
        self._held_bytes = 0  # of the bodies of both
        self._loop: asyncio.AbstractEventLoop | None = None

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to answer, on `loop`."""
        self._loop = loop
        loop.add_reader(self._wire.fd, self._take)

    async def close(self) -> None:
        """Stop answering; what is under way is cancelled, and has ended when this returns."""
        if self._loop is not None:
            self._loop.remove_reader(self._wire.fd)
            self._loop = None
        self._held_bytes -= sum(len(event[7]) for event in self._waiting.values())
        self._waiting.clear()
        tasks = [call.task for call in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _take(self) -> None:
        for event in self._wire.take():
            try:
                self._handle(event)
            except Exception:  # the other events are not its fault
                _log.exception("an event of the bridge could not be handled: %s", event[0])

    def _handle(self, event: Event) -> None:
        kind = event[0]
        if kind == "request":
            self._admit(event)
        elif kind == "access":
            self._on_access(event)
        elif kind == "gone":
            self._leave(event[1])
        elif kind == "drained" and (call := self._running.get(event[1])) is not None:
            call.go_on()

    def _admit(self, event: Event) -> None:
        id, size = event[1], len(event[7])
        held = self._held_bytes + size
        if held > self._max_held and self._held_bytes > 0:
            return self._refuse(event)
        if self._counted < self._max_running or self._is_uncounted(event):
            self._held_bytes = held
            self._start(event)
        elif len(self._waiting) < self._max_waiting:
            self._held_bytes = held
            self._waiting[id] = event
        else:
            self._refuse(event)

    def _is_uncounted(self, event: Event) -> bool:
        return event[2] == "grpc" and self._grpc.goes_on(_method_of(event))

    def _refuse(self, event: Event) -> None:
        if event[2] == "grpc":
            self._wire.reply_grpc(event[1], None, _UNAVAILABLE, _BUSY, [])
        else:
            refuse_http(self._wire, event[1], 503, _BUSY)

    def _start(self, event: Event) -> None:
        assert self._loop is not None
        id, kind = event[1], event[2]
        uncounted = self._is_uncounted(event)
        if kind == "grpc":
            exchange, answering = None, self._answer_grpc(event, goes_on=uncounted)
        else:
            exchange = Exchange(self._wire, event)
            answering = self._answer_http(exchange, self._apps[kind], event)
        call = _Call(self._loop, answering, exchange)
        self._running[id] = call
        self._counted += not uncounted
        size = len(event[7])
        call.task.add_done_callback(lambda _task: self._finish(id, size, counted=not uncounted))

    def _finish(self, id: int, size: int, *, counted: bool) -> None:
        del self._running[id]
        self._counted -= counted
        self._held_bytes -= size
        while self._waiting and self._counted < self._max_running:
            self._start(self._waiting.pop(next(iter(self._waiting))))

    def _leave(self, id: int) -> None:
        waiting = self._waiting.pop(id, None)
        if waiting is not None:
            self._held_bytes -= len(waiting[7])
        elif (call := self._running.get(id)) is not None:
            call.leave()

    async def _answer_http(self, exchange: Exchange, app: ASGIApp, event: Event) -> None:
        scope = scope_of(event)
        try:
            await app(scope, exchange.receive, exchange.send)
        except Exception:
            _log.exception("%s %s failed", scope["method"], scope["path"])
        exchange.end()

    async def _answer_grpc(self, event: Event, *, goes_on: bool) -> None:
        id, method, body = event[1], _method_of(event), event[7]
        reply: bytes | None = None
        status, text = 0, ""
        try:
            async for message in self._grpc.call(method, body):
                if goes_on:
                    self._wire.reply_grpc(id, message, None, "", [])
                else:
                    reply = message
        except GrpcFailure as failure:
            reply, status, text = None, failure.status, failure.text
        except Exception as error:
            _log.exception("%s failed", method)
            reply, status, text = None, INTERNAL, f"internal error: {type(error).__name__}"
        self._wire.reply_grpc(id, reply, status, text, [])


class _Call:
    """A request that is being answered."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        answering: Coroutine[Any, Any, None],
        exchange: Exchange | None,
    ) -> None:
        self.task: asyncio.Task[None] = loop.create_task(answering)
        self._exchange = exchange

    def leave(self) -> None:
        """Its client went away."""
        if self._exchange is not None:
            self._exchange.leave()
        self.task.cancel()

    def go_on(self) -> None:
        """What was held back has left."""
        if self._exchange is not None:
            self._exchange.go_on()


def _method_of(event: Event) -> str:
    method: bytes = event[4]
    return method.decode("latin-1")

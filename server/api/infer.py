"""Infer in the ASGI app: by the native codec and engine, so that it answers as the native listener does."""

import asyncio
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from falaj import _core
from falaj.server.api.routing import raw_path

Headers = list[tuple[bytes, bytes]]
Answer = tuple[int, Headers, bytes]


class HttpInferCalls:
    """For one event loop: made on it, and closed on it.

    Requests of one turn of the loop are handed over together; a batch that finishes wakes the loop once.

    Args:
        runtime: the engine's.
        options: those of the native front end.
    """

    def __init__(self, runtime: _core.Runtime, options: dict[str, Any]) -> None:
        self._native = _core.HttpInfer(runtime, options)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._native.fd, self._native.drain)
        self._flushing = False

    async def __call__(self, target: str, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> Answer:
        """Answer a POST to `target`, the path as it was sent: status, headers, body.

        Cancelling withdraws the request and leaves the others of its batch untouched. Raises NotFound where
        `target` is not that of an infer request; what is wrong with the request is in the answer.
        """
        future: asyncio.Future[Answer] = self._loop.create_future()
        tag = self._native.submit(target, headers, body, future)
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)
        try:
            return await future
        except asyncio.CancelledError:
            self._native.cancel(tag)
            raise

    async def answer(self, request: Request, body: bytes) -> Response:
        """Answer a request whose body was read; one whose client leaves first is withdrawn."""
        target = raw_path(request.scope).decode("latin-1")
        asking = asyncio.ensure_future(self(target, request.scope["headers"], body))
        leaving = asyncio.ensure_future(_left(request))
        try:
            await asyncio.wait((asking, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                raise _core.Cancelled("the client went away")
            status, headers, content = asking.result()
        finally:
            asking.cancel()
            leaving.cancel()
        response = Response(content, status)
        response.raw_headers = list(headers)
        return response

    def close(self) -> None:
        """Stop listening for answers."""
        self._loop.remove_reader(self._native.fd)

    def _flush(self) -> None:
        self._flushing = False
        self._native.flush()
        # What ran on this very thread is answered now instead of after another turn through the selector.
        self._native.drain()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass

"""Infer in the ASGI app: by the native codec and engine, so that it answers as the native listener does."""

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from falaj import _core
from falaj.server.api.errors import error_response

Answer = tuple[int, list[tuple[bytes, bytes]], bytes]


class HttpInferCalls:
    """For one event loop: made on it, and closed on it.

    Requests of one turn of the loop are handed over together; one that finishes wakes the loop.
    """

    def __init__(self, runtime: _core.Runtime, options: dict[str, Any]) -> None:
        self._native = _core.HttpInfer(runtime, options)
        self._max_body = int(options.get("http.max_body_bytes", 1 << 30))
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._native.fd, self._native.drain)
        self._flushing = False

    async def __call__(self, request: Request) -> Response:
        """Answer one infer request; one whose client leaves is withdrawn."""
        body = await self._body_of(request)
        if body is None:
            return self._too_large()
        future: asyncio.Future[Answer] = self._loop.create_future()
        target = (request.scope.get("raw_path") or request.scope["path"].encode()).decode("latin-1")
        tag = self._native.submit(target, request.scope["headers"], body, future)
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)
        try:
            status, headers, content = await future
        except asyncio.CancelledError:
            self._native.cancel(tag)
            raise
        response = Response(content, status)
        response.raw_headers = list(headers)
        return response

    def close(self) -> None:
        """Stop listening for answers."""
        self._loop.remove_reader(self._native.fd)

    def _flush(self) -> None:
        self._flushing = False
        self._native.flush()

    async def _body_of(self, request: Request) -> bytes | None:
        """The whole body; None where it is larger than the bound."""
        chunks, size = [], 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > self._max_body:
                return None
            chunks.append(chunk)
        return b"".join(chunks)

    def _too_large(self) -> Response:
        return error_response(413, f"the request's body is larger than {self._max_body} bytes")

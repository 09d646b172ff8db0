"""Triton's generate extension: a model asked in plain JSON, whose answers come in plain JSON.

Each key of the request, and of its object `parameters`, that names an input of the model is that input; a
single value, or a list, is given the dimensions that it lacks. Of the others, `id` comes back, `priority` and
`timeout` (µs) are as in infer requests, and the rest is read past.
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from falaj import _core
from falaj.server.api.control_plane import ControlPlane
from falaj.server.engine import Arrays

_EVENTS = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}


class Generation:
    """One request, and its answers.

    Args:
        control: the models.
        name: the model asked.
        version: None: the served one.
        body: the request.

    Raises:
        InvalidInput, NotFound, Unavailable: of the request.
    """

    def __init__(self, control: ControlPlane, name: str, version: int | None, body: dict[str, Any]) -> None:
        served, tensors = control.inputs_of(name, version)
        inputs = {tensor.name: len(tensor.shape) for tensor in tensors}
        parameters = body.get("parameters", {})
        if not isinstance(parameters, dict):
            raise _core.InvalidInput("the request's body: Expected `object` - at `$.parameters`")
        told = {**parameters, **body}
        given = {key: _of_rank(told[key], rank) for key, rank in inputs.items() if key in told}
        timeout_us = _whole_number(told, "timeout", inputs)
        self._id = _text(body, "id", inputs)
        self._model = {"model_name": name, "model_version": str(served)}
        self._answers = control.ask(
            name, version, given, timeout_us / 1e6 or None, _whole_number(told, "priority", inputs)
        )

    async def only(self) -> dict[str, Any]:
        """The answer of a model that gives one. Raises InvalidInput where it gives none, or more."""
        async with aclosing(self._answers) as answers:
            found = [arrays async for arrays in _first_two(answers)]
        if len(found) != 1:
            raise _core.InvalidInput(
                "generate expects the model to give exactly 1 answer; ask a model that may give another "
                "number by generate_stream"
            )
        return self._object(found[0])

    async def events(self, request: Request) -> Response:
        """All answers, each as it comes; what fails after the first is told as an event."""
        try:
            first = await anext(self._answers, None)
        except BaseException:
            await self._answers.aclose()
            raise
        return _Events(self._texts(first), request)

    async def _texts(self, first: Arrays | None) -> AsyncGenerator[str, None]:
        async with aclosing(self._answers) as answers:
            try:
                if first is not None:
                    yield _event(self._object(first))
                async for arrays in answers:
                    yield _event(self._object(arrays))
            except _core.Error as error:
                yield _event({"error": str(error)})

    def _object(self, arrays: Arrays) -> dict[str, Any]:
        told: dict[str, Any] = {"id": self._id} if self._id else {}
        return {**told, **self._model, **{name: _plain(array) for name, array in arrays.items()}}


class _Events(Response):
    """Sends texts as they come, until there are no more or the client leaves."""

    def __init__(self, texts: AsyncGenerator[str, None], request: Request) -> None:
        super().__init__(headers=_EVENTS)
        del self.headers["content-length"]
        self._texts, self._request = texts, request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.ensure_future(self._send(send))
        leaving = asyncio.ensure_future(_left(self._request))
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            sending.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
            await self._texts.aclose()
        if not sending.cancelled():
            sending.result()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async for text in self._texts:
            await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _first_two(answers: AsyncGenerator[Arrays, None]) -> AsyncGenerator[Arrays, None]:
    for _ in range(2):
        arrays = await anext(answers, None)
        if arrays is None:
            return
        yield arrays


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False, separators=(',', ':'))}\n\n"


def _plain(array: Any) -> Any:
    """The elements in row-major order; a single one by itself."""
    values = [
        value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
        for value in array.ravel().tolist()
    ]
    return values[0] if len(values) == 1 else values


def _of_rank(value: Any, rank: int) -> Any:
    """`value` with dimensions of size 1 in front, as many as it lacks."""
    depth, inner = 0, value
    while isinstance(inner, list):
        depth += 1
        if not inner:
            break
        inner = inner[0]
    for _ in range(rank - depth):
        value = [value]
    return value


def _whole_number(told: dict[str, Any], key: str, inputs: dict[str, int]) -> int:
    value = told.get(key, 0) if key not in inputs else 0
    if type(value) is not int or value < 0:
        raise _core.InvalidInput(f"{key}: expected a whole number of 0 or more, got {value!r:.60}")
    return value


def _text(body: dict[str, Any], key: str, inputs: dict[str, int]) -> str:
    value = body.get(key, "") if key not in inputs else ""
    if not isinstance(value, str):
        raise _core.InvalidInput(f"{key}: expected text, got {value!r:.60}")
    return value

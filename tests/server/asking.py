"""Asks an ASGI app, as a client of its server would, without a network."""

import asyncio
import json
from types import TracebackType
from typing import Any

import httpx
from starlette.types import ASGIApp, Message


class Asking:
    """One app on one event loop of its own; the loop runs only while something is asked.

    Attributes:
        raises: Whether what the app raises beside its answer reaches the test.
    """

    def __init__(self, app: ASGIApp, *, raises: bool = True, root_path: str = "") -> None:
        transport = httpx.ASGITransport(app, raise_app_exceptions=raises, root_path=root_path)
        self.runner = asyncio.Runner()
        self.client = httpx.AsyncClient(transport=transport, base_url="http://falaj.test")

    def __call__(self, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
        """Ask; `body` is sent as it is where it is bytes, else as JSON."""
        if isinstance(body, bytes):
            more["content"] = body
        elif body is not None:
            more["json"] = body
        return self.runner.run(self.client.request(method, path, **more))

    def __enter__(self) -> "Asking":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.runner.run(self.client.aclose())
        self.runner.close()


async def ask_raw(app: ASGIApp, raw_path: bytes, method: str = "GET", **scope: Any) -> tuple[int, Any]:
    """Ask for a path that no client library would send; return status and JSON."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    told = {"type": "http", "method": method, "raw_path": raw_path, "path": raw_path.decode("latin-1")}
    defaults = {"query_string": b"", "headers": [], "root_path": "", "http_version": "1.1", "scheme": "http"}
    await app({**defaults, **told, **scope}, receive, send)
    body = b"".join(part.get("body", b"") for part in sent[1:])
    return sent[0]["status"], json.loads(body) if body else None


def error_of(response: httpx.Response, status: int) -> str:
    """The text of an error in the protocol's form."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    assert answer.keys() == {"error"}
    assert isinstance(answer["error"], str)
    return answer["error"]

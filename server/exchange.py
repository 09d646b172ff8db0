"""One HTTP request of the bridge as ASGI sees it."""

import asyncio
import json
import logging
from collections.abc import Sequence
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes

from starlette.types import Message, Scope

_log = logging.getLogger("falaj.bridge")

Headers = list[tuple[bytes, bytes]]
_LINE_ENDS = (b"\r", b"\n", b"\0")


class Wire(Protocol):
    """What of _core.WireServer the bridge uses."""

    @property
    def fd(self) -> int:
        """Readable when take() has something."""

    def take(self) -> list[tuple[Any, ...]]:
        """Return the events that came, as falaj/_core.pyi describes them."""

    def reply_head(self, id: int, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Begin an answer."""

    def reply_body(self, id: int, body: bytes, last: bool) -> bool:
        """Go on with it. False: hold back until ("drained", id)."""

    def reply_grpc(
        self,
        id: int,
        message: bytes | None,
        status: int | None,
        text: str,
        trailers: Sequence[tuple[str, str]],
    ) -> bool:
        """Give a message, and with a status the end."""


class Exchange:
    """Turns what an app sends into replies. Used on the bridge's loop; nothing is sent after `leave`."""

    def __init__(self, wire: Wire, event: tuple[Any, ...]) -> None:
        self._wire = wire
        self._id: int = event[1]
        self._is_head = event[3] == b"HEAD"
        self._body: bytes | None = event[7]  # until the app has taken it
        self._head: tuple[int, Headers] | None = None  # until the first part of the body: then it is sent
        self._begun = False
        self._ended = False
        self._left_bytes: int | None = None  # of the declared length; None: none was declared
        self._over = asyncio.Event()
        self._may_send = asyncio.Event()
        self._may_send.set()

    def leave(self) -> None:
        """The client went away."""
        self._ended = True
        self._over.set()

    def go_on(self) -> None:
        """What was held back has left."""
        self._may_send.set()

    async def receive(self) -> Message:
        """Give the whole body, then wait for the end of the answer or the client."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._over.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Take a part of the answer; wait while too much of it is on its way. Raises RuntimeError where it
        is not what HTTP or ASGI expects there."""
        if message["type"] == "http.response.start":
            self._start(message)
        elif message["type"] == "http.response.body":
            await self._go_on(bytes(message.get("body", b"")), last=not message.get("more_body", False))

    def end(self) -> None:
        """The app has returned, or failed: finish what it left unfinished."""
        if self._ended:
            return
        self._ended = True
        self._over.set()
        if not self._begun:
            refuse_http(self._wire, self._id, 500, "internal error: the request was not answered")
            return
        # What is missing cannot be told any more.
        _log.error("the answer to a request ends before it is complete")
        self._wire.reply_body(self._id, b"", True)

    def _start(self, message: Message) -> None:
        if self._head is not None or self._begun:
            raise RuntimeError("an answer has one http.response.start")
        headers = [(bytes(name), bytes(value)) for name, value in message.get("headers", [])]
        for name, value in headers:
            if any(end in name or end in value for end in _LINE_ENDS):
                raise RuntimeError(f"header {name!r} has a line end")
            if name.lower() == b"content-length" and not self._is_head:  # HEAD tells it of a body not sent
                self._left_bytes = int(value)
        self._head = message["status"], headers

    async def _go_on(self, body: bytes, *, last: bool) -> None:
        if self._ended:
            return
        if not self._begun and self._head is None:
            raise RuntimeError("http.response.body came before http.response.start")
        await self._may_send.wait()
        if self._left_bytes is not None:
            self._left_bytes -= len(body)
            if self._left_bytes < 0 or (last and self._left_bytes > 0):
                raise RuntimeError(f"the body is {-self._left_bytes:+} bytes off its content-length")
        if self._head is not None:
            self._wire.reply_head(self._id, *self._head)
            self._head, self._begun = None, True
        self._ended = last
        if last:
            self._over.set()
        if not self._wire.reply_body(self._id, body, last) and not last:
            self._may_send.clear()


def refuse_http(wire: Wire, id: int, status: int, text: str) -> None:
    """Answer a request with an error of the protocol's JSON."""
    headers = [(b"content-type", b"application/json")]
    if status == 503:
        headers.append((b"retry-after", b"1"))
    wire.reply_head(id, status, headers)
    wire.reply_body(id, json.dumps({"error": text}).encode(), True)


def scope_of(event: tuple[Any, ...]) -> Scope:
    """Return the ASGI scope of a request."""
    (_, _, _, method, target, minor, headers, _, address, port, tls, subject) = event
    path, _, query = _origin_form(target).partition(b"?")
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
        "client": None if address == "unix" else (address, port),
        "server": None,
        "state": {},
        "extensions": {"falaj": {"tls": tls, "certificate_subject": subject}},
    }


def _origin_form(target: bytes) -> bytes:
    """A target as requests to servers have it; proxies are sent the whole URL (RFC 9112, 3.2.2)."""
    if target.startswith(b"/"):
        return target
    scheme, _, rest = target.partition(b"://")
    if not rest or scheme.lower() not in (b"http", b"https"):
        return target
    slash = rest.partition(b"?")[0].find(b"/")
    return rest[slash:] if slash >= 0 else b"/" + rest[len(rest.partition(b"?")[0]) :]

"""One HTTP request and its answer. All of the suite's requests that are not a client library's go through
here, so that each can be sent to a second server and both answers compared."""

import http.client
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

_PATIENCE = 60  # seconds
_SHOWN = 2000  # characters of an answer that was not the expected one
# What belongs to a connection or a moment rather than to an answer.
_NOT_COMPARED = frozenset({"date", "server", "connection"})
# Times and counts differ from process to process; everything around them must not.
_MEASURED = re.compile(r"/stats$")
_NUMBER = re.compile(rb"(?<=:)\d+")
_BY_BATCH = re.compile(rb'(?<="batch_stats":)\[.*?\](?=,"memory)')  # one entry a size that happened to be run

Headers = Mapping[str, str]


@dataclass(frozen=True)
class Answer:
    """An answer as it was sent.

    Attributes:
        fields: Name (lower case) and value of each header field, in order.
        body: Still encoded, where it has a Content-Encoding.
    """

    status: int
    fields: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """The value of a field, None where there is none."""
        found = [value for key, value in self.fields if key == name]
        assert len(found) <= 1, f"{name} is there {len(found)} times"
        return found[0] if found else None

    def content(self) -> bytes:
        """The body, decoded."""
        encoding = self.header("content-encoding")
        if encoding is None:
            return self.body
        return zlib.decompress(self.body, {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}[encoding])

    def json(self) -> Any:
        """The body as JSON, which it has to say that it is."""
        assert self.header("content-type") == "application/json", self
        return json.loads(self.content())

    def error(self, status: int) -> str:
        """The message of a failure that has to have this status."""
        assert self.status == status, self
        told = self.json()
        assert isinstance(told, dict)
        assert told.keys() == {"error"}
        message: str = told["error"]
        assert message
        return message


@dataclass(frozen=True)
class Http:
    """Sends requests to one server, and to a second one where there is one that must answer the same."""

    address: str  # host:port, perhaps with http:// before it
    mirror: str = ""

    def __call__(
        self, method: str, path: str, body: bytes | object = b"", headers: Headers | None = None
    ) -> Answer:
        """Send a request on a connection of its own; a body that is not bytes is sent as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = _send(self.address, method, path, content, headers or {})
        if self.mirror:
            other = _send(self.mirror, method, path, content, headers or {})
            one, two = _compared(path, answer), _compared(path, other)
            assert one == two, f"{method} {path} is answered in two ways:\n{_cut(one)}\n{_cut(two)}"
        return answer

    def get(self, path: str) -> Answer:
        """GET without a body."""
        return self("GET", path)

    def post(self, path: str, body: bytes | object = b"", headers: Headers | None = None) -> Answer:
        """POST."""
        return self("POST", path, body, headers)

    def infer(self, model: str, request: bytes | object, headers: Headers | None = None) -> Answer:
        """POST to a model's infer, by its name as a URL has it."""
        return self("POST", f"/v2/models/{model}/infer", request, headers)


def without_scheme(address: str) -> str:
    """host:port of an address, which may be given as a URL."""
    return urlsplit(address).netloc if "://" in address else address


def _send(address: str, method: str, path: str, body: bytes, headers: Headers) -> Answer:
    connection = http.client.HTTPConnection(address, timeout=_PATIENCE)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        connection.putheader("Content-Length", str(len(body)))
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        fields = tuple((name.lower(), value) for name, value in response.getheaders())
        return Answer(response.status, fields, response.read())
    finally:
        connection.close()


def _cut(answer: Answer) -> str:
    return repr(answer)[:_SHOWN]


def _compared(path: str, answer: Answer) -> Answer:
    fields = tuple(pair for pair in answer.fields if pair[0] not in _NOT_COMPARED)
    if not _MEASURED.search(path):
        return Answer(answer.status, fields, answer.body)
    fields = tuple(pair for pair in fields if pair[0] != "content-length")
    return Answer(answer.status, fields, _NUMBER.sub(b"0", _BY_BATCH.sub(b"[]", answer.body)))

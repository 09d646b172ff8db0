"""Asks a running server about its model repository, over HTTP with the standard library alone."""

import http.client
import json
import ssl
from typing import Any
from urllib.parse import quote, urlsplit

from falaj._core import InvalidInput, NotFound, Unavailable

_MOST_BYTES = 64 << 20


class RepositoryClient:
    """The protocol's repository extension of one server.

    Proxies of the environment are not used: the server is near, and what is asked is administration.

    Args:
        url: `http://host:port` or `https://host:port`; a path in it comes before the protocol's own.
        timeout: Seconds without a byte of an answer after which it is given up. Loading can take long.
        ca_file: PEM file of the authorities that are trusted for https; None for the system's.

    Raises:
        InvalidInput: the URL is none of these, or `ca_file` cannot be used.
    """

    def __init__(self, url: str, *, timeout: float = 300, ca_file: str | None = None) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise InvalidInput(f"expected http://host:port or https://host:port, got '{url}'") from error
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise InvalidInput(f"expected http://host:port or https://host:port, got '{url}'")
        self._url = url
        self._host, self._port = parts.hostname, port
        self._path = parts.path.rstrip("/")
        self._timeout = timeout
        self._tls = _tls(ca_file) if parts.scheme == "https" else None

    def index(self) -> list[dict[str, Any]]:
        """Return a row for each model version: name, version, state, reason."""
        answer = self._post("/v2/repository/index", {})
        if not isinstance(answer, list) or not all(isinstance(row, dict) for row in answer):
            raise Unavailable(f"{self._url}: expected a list of models, got {_short(answer)}")
        return answer

    def load(self, model: str) -> None:
        """Have a model loaded, anew where it is loaded already. No request to it fails."""
        self._post(f"/v2/repository/models/{quote(model, safe='')}/load", {})

    def reload(self, model: str) -> None:
        """Have a loaded model loaded anew. Raises NotFound where the server has no such model loaded."""
        if model not in {row.get("name") for row in self.index() if row.get("state") == "READY"}:
            raise NotFound(f"model '{model}' is not loaded")
        self.load(model)

    def unload(self, model: str) -> None:
        """Have a model taken out of service."""
        self._post(f"/v2/repository/models/{quote(model, safe='')}/unload", {})

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        """Return what the answer's JSON says, None where it is empty. Raises Unavailable with the server's
        own words, or with what kept it from answering."""
        connection = self._connection()
        try:
            headers = {"Content-Type": "application/json"}
            connection.request("POST", f"{self._path}{path}", json.dumps(body), headers)
            response = connection.getresponse()
            text = response.read(_MOST_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"{self._url}: {error or type(error).__name__}") from error
        finally:
            connection.close()
        try:
            answer = json.loads(text) if text else None
        except ValueError as error:
            if response.status < 300:
                raise Unavailable(f"{self._url}: expected JSON, got {_short(text)}") from error
            answer = None
        if response.status >= 300:
            told = answer.get("error") if isinstance(answer, dict) else None
            raise Unavailable(str(told or f"{self._url}: {response.status} {response.reason}"))
        return answer

    def _connection(self) -> http.client.HTTPConnection:
        if self._tls is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout, context=self._tls)


def _tls(ca_file: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise InvalidInput(f"{ca_file}: cannot be used: {error}") from error


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."

"""Answers of JSON, and failures as answers (docs: the protocol's status mapping)."""

import json

from starlette.responses import Response

from falaj import _core

_STATUSES: tuple[tuple[type[_core.Error], int], ...] = (
    (_core.InvalidInput, 400),
    (_core.NotFound, 404),
    (_core.Unavailable, 503),
    (_core.DeadlineExceeded, 504),
    (_core.Cancelled, 499),
    (_core.Unsupported, 501),
)


def status_of(error: Exception) -> int:
    """Return the HTTP status of a failure; 500 where it is none of ours."""
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)


def json_response(content: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return an answer of compact JSON. What is no Unicode text in a client's name is escaped."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return Response(text.encode("utf-8", "backslashreplace"), status, headers, media_type="application/json")


def error_response(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    """Return `{"error": message}`; it says when to try again where that can help."""
    extra = {"retry-after": "1"} if status in (429, 503) else {}
    return json_response({"error": message}, status, {**extra, **(headers or {})})

"""Reads request bodies: bounded, decompressed, and as the shapes that are expected."""

import json
import zlib
from typing import TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request

from falaj import _core

T = TypeVar("T")

_WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


async def read_body(request: Request, max_bytes: int) -> bytes:
    """Return the whole body as it was sent. Raises HTTPException (413) where it is larger."""
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > max_bytes:
            raise HTTPException(413, f"the request's body is larger than {max_bytes} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


async def read_json(request: Request, shape: type[T], max_bytes: int, *, has_nan: bool = False) -> T:
    """Return the body as a `shape`; an empty body is an empty object.

    `has_nan`: NaN, Infinity and -Infinity are taken as Python's json writes them.

    Raises InvalidInput where it is not of that shape, HTTPException where it is too large (413) or encoded as
    nothing we know (501).
    """
    body = _decompressed(request, await read_body(request, max_bytes), max_bytes)
    body = body if body.strip() else b"{}"
    try:
        if has_nan:
            return msgspec.convert(json.loads(body), shape)
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        raise _core.InvalidInput(f"the request's body: {error}") from error
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise _core.InvalidInput(f"the request's body is not JSON: {error}") from error


def _decompressed(request: Request, body: bytes, max_bytes: int) -> bytes:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in _WINDOW_BITS:
        text = f"content encoding '{encoding}' is not supported: expected gzip or deflate"
        raise HTTPException(501, text, {"accept-encoding": "gzip, deflate"})
    reader = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        content = reader.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise _core.InvalidInput(f"the request's body is not valid {encoding}: {error}") from error
    if len(content) > max_bytes:
        text = f"the request's body is larger than {max_bytes} bytes when decompressed"
        raise HTTPException(413, text)
    if not reader.eof or reader.unused_data:
        raise _core.InvalidInput(
            f"the request's body is not valid {encoding}: it does not end where it should"
        )
    return content

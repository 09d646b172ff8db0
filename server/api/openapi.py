"""The description of the API, made of the table of its operations."""

import http
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from falaj.server.api import shapes
from falaj.server.api.routing import Operation

_REFS = "#/components/schemas/{name}"
_PARAMETERS = {
    "model": ("A model's name, percent-encoded.", {"type": "string"}),
    "version": ("One of its versions.", {"type": "integer", "minimum": 1}),
    "view": ("A view's name, or name@version.", {"type": "string"}),
    "region": ("A region of shared memory.", {"type": "string"}),
}
_REASONS = {499: "The client went away first"}
_HEADER = "Inference-Header-Content-Length"
_HEADER_TEXT = "Bytes of JSON at the body's beginning; tensors follow in the order in which it names them."


def document(operations: Sequence[Operation], version: str) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document."""
    bodies = [body for one in operations for body in (one.request, one.response) if body is not None]
    described, components = msgspec.json.schema_components([*bodies, shapes.Error], ref_template=_REFS)
    schemas = dict(zip([*map(_key, bodies), _key(shapes.Error)], described, strict=True))
    paths: dict[str, Any] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Falaj",
            "version": version,
            "description": "The Open Inference Protocol (V2), its extensions that are served, and features.",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": components},
    }


def failures_of(operation: Operation) -> dict[int, str]:
    """Return the statuses that an operation may fail with, and their names."""
    statuses = {*operation.failures, 500}
    return {status: _REASONS.get(status) or http.HTTPStatus(status).phrase for status in sorted(statuses)}


def path_parameters(operation: Operation) -> list[tuple[str, str]]:
    """Return name and meaning of each parameter of the path."""
    return [(name, _PARAMETERS[name][0]) for name in re.findall(r"\{(\w+)\}", operation.path)]


def _key(body: Any) -> str:
    return str(body)


def _described(operation: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "path", "required": True, "description": text, "schema": _PARAMETERS[name][1]}
        for name, text in path_parameters(operation)
    ]
    if operation.binary:
        parameters.append(_binary_header() | {"name": _HEADER, "in": "header", "required": False})
    described: dict[str, Any] = {
        "operationId": _id(operation),
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": parameters,
        "responses": _responses(operation, schemas),
    }
    if operation.request is not None:
        content = _content(operation, operation.request, schemas)
        described["requestBody"] = {"required": operation.binary, "content": content}
    return described


def _responses(operation: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    if operation.tag != "Not served":
        answers["200"] = {"description": "Success"}
        if operation.response is not None:
            answers["200"]["content"] = _content(operation, operation.response, schemas)
        if operation.binary:
            answers["200"]["headers"] = {_HEADER: _binary_header()}
    for status, reason in failures_of(operation).items():
        # What is not ready says so in the shape of what is.
        same = operation.tag == "Health" and status == 503
        shape = operation.response if same else shapes.Error
        content = {"application/json": {"schema": schemas[_key(shape)]}}
        answers[str(status)] = {"description": reason, "content": content}
    return answers


def _content(operation: Operation, body: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": schemas[_key(body)]}}
    if operation.binary:
        content["application/octet-stream"] = {"schema": {"type": "string", "format": "binary"}}
    return content


def _binary_header() -> dict[str, Any]:
    return {"description": _HEADER_TEXT, "schema": {"type": "integer", "minimum": 0}}


def _id(operation: Operation) -> str:
    words = re.findall(r"\w+", operation.path.removeprefix("/v2"))
    return "_".join([operation.method.lower(), *words]) if words else f"{operation.method.lower()}_server"

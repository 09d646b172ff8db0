"""The description of the API, made of the table of its operations."""

import html
import re
from typing import Any

from falaj.server.api.routing import Operation

_TENSOR = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer"}},
        "datatype": {
            "type": "string",
            "enum": [
                "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64",
                "FP16", "FP32", "FP64", "BYTES", "BF16",
            ],
        },
        "parameters": {"type": "object"},
    },
}  # fmt: skip
_DATA = {**_TENSOR, "properties": {**_TENSOR["properties"], "data": {"type": "array"}}}  # type: ignore[dict-item]
_TEXT = {"type": "string"}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def _list(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _schemas() -> dict[str, Any]:
    flag, number, parameters = {"type": "boolean"}, {"type": "integer"}, {"type": "object"}
    return {
        "ServerMetadata": _object(name=_TEXT, version=_TEXT, extensions=_list(_TEXT)),
        "Live": _object(live=flag),
        "Ready": _object(name=_TEXT, ready=flag, error=_TEXT),
        "Models": _object(models=_list(_TEXT)),
        "ModelMetadata": _object(
            name=_TEXT, versions=_list(_TEXT), platform=_TEXT, inputs=_list(_TENSOR), outputs=_list(_TENSOR)
        ),
        "ModelConfig": {"type": "object", "description": "Triton's ModelConfig"},
        "Statistics": _object(model_stats=_list({"type": "object"})),
        "Index": {
            "oneOf": [
                _object(ready=flag),
                _list(_object(name=_TEXT, version=_TEXT, state=_TEXT, reason=_TEXT)),
            ]
        },
        "Load": _object(parameters=parameters),
        "Unload": _object(parameters=_object(unload_dependents=flag)),
        "Logging": _object(
            log_file=_TEXT, log_info=flag, log_warning=flag, log_error=flag, log_verbose_level=number,
            log_format=_TEXT,
        ),
        "Infer": _object(
            id=_TEXT,
            parameters=parameters,
            inputs=_list(_DATA),
            outputs=_list(_object(name=_TEXT, parameters=parameters)),
        ),
        "InferAnswer": _object(model_name=_TEXT, model_version=_TEXT, id=_TEXT, outputs=_list(_DATA)),
        "Error": _object(error=_TEXT),
    }  # fmt: skip


def document(operations: list[Operation], version: str) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document."""
    paths: dict[str, Any] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Falaj", "version": version, "description": "Open Inference Protocol (V2)"},
        "paths": paths,
        "components": {"schemas": _schemas()},
    }


def _described(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "summary": operation.summary,
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": _TEXT}
            for name in re.findall(r"\{(\w+)\}", operation.path)
        ],
        "responses": {
            "200": {"description": "Success", **_content(operation.response)},
            "default": {"description": "Failure", **_content("Error")},
        },
    }
    if operation.request:
        described["requestBody"] = _content(operation.request)
    return described


def _content(schema: str) -> dict[str, Any]:
    if not schema:
        return {}
    return {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}}


def page(operations: list[Operation]) -> str:
    """Return the description as a page that needs nothing else."""
    rows = "".join(
        f"<tr><td><code>{operation.method}</code><td><code>{html.escape(operation.path)}</code>"
        f"<td>{html.escape(operation.summary)}</tr>"
        for operation in sorted(operations, key=lambda one: (one.path, one.method))
    )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Falaj API</title>"
        "<style>body{font:16px system-ui;margin:2em}td,th{padding:.3em 1em;text-align:left}</style>"
        "<h1>Falaj API</h1><p>Open Inference Protocol (V2). For tools: "
        "<a href=/openapi.json>openapi.json</a>.</p>"
        f"<table><tr><th>Method<th>Path<th>What it does</tr>{rows}</table></html>"
    )

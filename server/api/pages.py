"""Pages for people, made on the server: no scripts, nothing fetched from elsewhere."""

import html
from collections.abc import Iterable, Mapping, Sequence

from starlette.responses import HTMLResponse, Response

from falaj.server.api.openapi import failures_of, path_parameters
from falaj.server.api.routing import Operation

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2em;max-width:80em}"
    "table{border-collapse:collapse}td,th{padding:.3em 1em .3em 0;text-align:left;vertical-align:top}"
    "tr{border-bottom:1px solid #8884}code{font-size:.9em}.bad{color:#b00}"
    "@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}a{color:#8bf}.bad{color:#f88}}"
)
_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}


def api_page(operations: Sequence[Operation]) -> Response:
    """Return the page that describes the operations."""
    tags = dict.fromkeys(operation.tag for operation in operations)
    parts = []
    for tag in tags:
        rows = [_api_row(operation) for operation in operations if operation.tag == tag]
        heads = ("Request", "What it does", "Parameters", "Body", "Answer", "Failures")
        parts.append(f"<h2>{html.escape(tag)}</h2>{_table(heads, rows)}")
    text = "The Open Inference Protocol (V2). For tools: <a href='openapi.json'>openapi.json</a>."
    return _page("Falaj API", f"<h1>Falaj API</h1><p>{text}</p>{''.join(parts)}")


def models_page(rows: Sequence[Mapping[str, str]], why_not_ready: str | None) -> Response:
    """Return the page of the repository index."""
    state = "ready" if why_not_ready is None else f"<b class=bad>not ready</b>: {html.escape(why_not_ready)}"
    cells = [
        [
            html.escape(row["name"]),
            html.escape(row["version"]),
            f"<span{'' if row['state'] == 'READY' else ' class=bad'}>{html.escape(row['state'])}</span>",
            html.escape(row["reason"]),
        ]
        for row in rows
    ]
    table = _table(("Model", "Version", "State", "Reason"), cells) if cells else "<p>No models.</p>"
    links = "<p><a href='metrics'>Metrics</a> · <a href='docs'>API</a></p>"
    return _page("Falaj", f"<h1>Falaj</h1><p>The server is {state}.</p>{table}{links}")


def _api_row(operation: Operation) -> list[str]:
    parameters = "<br>".join(
        f"<code>{html.escape(name)}</code> {html.escape(text)}" for name, text in path_parameters(operation)
    )
    failures = ", ".join(f"{status} {reason}" for status, reason in failures_of(operation).items())
    return [
        f"<code>{operation.method} {html.escape(operation.path)}</code>",
        html.escape(operation.summary),
        parameters,
        _body(operation.request),
        _body(operation.response),
        html.escape(failures),
    ]


def _body(body: object) -> str:
    if body is None:
        return ""
    name = body.__name__ if isinstance(body, type) and not hasattr(body, "__args__") else str(body)
    text = (getattr(body, "__doc__", "") or "") if hasattr(body, "__struct_fields__") else ""
    name = name.replace("falaj.server.api.shapes.", "").replace("typing.", "")
    return f"<code>{html.escape(name)}</code> {html.escape(text)}"


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = "".join(f"<th>{html.escape(text)}</th>" for text in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _page(title: str, body: str) -> Response:
    text = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title>"
        f"<meta name=viewport content='width=device-width'><style>{_STYLE}</style>{body}</html>"
    )
    return HTMLResponse(text.encode("utf-8", "replace"), headers=_HEADERS)

"""The description of the API tells of every operation, truly, and its pages need nothing else."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import falaj
from falaj.server.api.app import make_admin_app
from falaj.server.api.control_plane import ControlPlane
from falaj.server.api.operations import Operations
from tests.server.asking import Asking
from tests.serving import add_python

pytestmark = pytest.mark.core


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def _admin(control: ControlPlane) -> Asking:
    return Asking(make_admin_app(control, lambda _accept: (b"", "text/plain")))


def _references(node: Any) -> set[str]:
    if isinstance(node, dict):
        found = {node["$ref"]} if "$ref" in node else set()
        return found.union(*map(_references, node.values()))
    return set().union(*map(_references, node)) if isinstance(node, list) else set()


def test_document_tells_of_every_operation_when_asked(ask: Asking, control: ControlPlane) -> None:
    told = ask("GET", "/openapi.json").json()
    assert told["openapi"].startswith("3.1")
    assert told["info"]["version"] == falaj.__version__
    operations = {(op.method.lower(), op.path) for op in Operations(control, None, 0).table()}
    operations |= {("get", "/docs"), ("get", "/openapi.json")}
    assert {(method, path) for path, methods in told["paths"].items() for method in methods} == operations
    ids = [one["operationId"] for methods in told["paths"].values() for one in methods.values()]
    assert len(set(ids)) == len(ids)


def test_document_describes_parameters_bodies_and_answers_when_asked(ask: Asking) -> None:
    told = ask("GET", "/openapi.json").json()
    schemas = told["components"]["schemas"]
    assert _references(told) == {f"#/components/schemas/{name}" for name in schemas}
    for path, methods in told["paths"].items():
        for method, one in methods.items():
            in_path = [p["name"] for p in one["parameters"] if p["in"] == "path"]
            assert in_path == re.findall(r"\{(\w+)\}", path)
            assert one["summary"]
            failures = [code for code in one["responses"] if code >= "400"]
            assert "500" in failures
            for code in failures:
                assert "application/json" in one["responses"][code]["content"], (path, code)
            bare = re.search("cudasharedmemory|trace|unregister", path)
            assert ("requestBody" in one) == (method == "post" and bare is None)
    infer = told["paths"]["/v2/models/{model}/infer"]["post"]
    assert infer["requestBody"]["content"].keys() == {"application/json", "application/octet-stream"}
    assert "Inference-Header-Content-Length" in {p["name"] for p in infer["parameters"]}
    assert {"400", "404", "413", "499", "503", "504"} <= infer["responses"].keys()
    load = told["paths"]["/v2/repository/models/{model}/load"]["post"]
    assert load["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/LoadRequest")
    assert "parameters" in schemas["LoadRequest"]["properties"]


def test_statuses_of_failures_are_told_when_operations_fail(ask: Asking) -> None:
    """What the document says of failures covers what happens."""
    told = ask("GET", "/openapi.json").json()["paths"]
    for method, path, body in (
        ("GET", "/v2/models/nope", None), ("GET", "/v2/models/broken", None),
        ("GET", "/v2/models/mlp/versions/0", None), ("GET", "/v2/models/broken/ready", None),
        ("POST", "/v2/repository/index", b"x"), ("POST", "/v2/repository/models/nope/load", None),
        ("POST", "/v2/repository/models/nope/unload", b"x"), ("POST", "/v2/logging", b"{}"),
        ("GET", "/v2/trace/setting", None), ("POST", "/v2/models/mlp/infer", b"{}"),
    ):  # fmt: skip
        status = ask(method, path, body).status_code
        template = re.sub(r"/models/(?!stats)[^/]+", "/models/{model}", path)
        template = re.sub(r"/versions/[^/]+", "/versions/{version}", template)
        assert str(status) in told[template][method.lower()]["responses"], (method, path, status)


@pytest.mark.parametrize("path", ["/docs", "/ui"])
def test_page_needs_nothing_else_when_opened(control: ControlPlane, path: str) -> None:
    with _admin(control) as ask:
        response = ask("GET", path)
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    page = Page(response.text)
    assert {"script", "link", "img", "iframe", "form"}.isdisjoint(tag for tag, _ in page.tags)
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name == "src"]
        assert "//" not in (attributes.get("href") or "")


def test_page_lists_every_operation_when_opened(ask: Asking) -> None:
    told = ask("GET", "/openapi.json").json()["paths"]
    text = Page(ask("GET", "/docs").text).text
    for path, methods in told.items():
        for method in methods:
            assert f"{method.upper()} {path}" in text


def test_page_shows_models_as_text_when_their_names_and_reasons_are_markup(models: Path) -> None:
    name = "<script>alert(1)<.script>&amp;"
    add_python(models, name, "raise RuntimeError('<img src=x onerror=alert(2)>')")
    with falaj.Engine(models, cores=1) as engine, _admin(ControlPlane(engine)) as ask:
        page = Page(ask("GET", "/ui").text)
    assert name in page.text
    assert "<img src=x onerror=alert(2)>" in page.text
    assert "not ready" in page.text
    assert {"script", "img"}.isdisjoint(tag for tag, _ in page.tags)

"""What comes over the bridge is answered once, in bounds, and forgotten when its client leaves."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.responses import JSONResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

import falaj
from falaj.server.bridge import Bridge
from falaj.server.grpc.failure import GrpcFailure
from tests import zoo
from tests.server.serving_process import until
from tests.server.wire_serving import WireServing
from tests.serving import QUICK, add_model

pytestmark = pytest.mark.core

App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Wire:
    """The native end in memory. `hold_back`: bytes under way from which answers are held back."""

    def __init__(self, hold_back: int = 1 << 20) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        self._events: list[tuple[Any, ...]] = []
        self._hold_back = hold_back
        self._replied = asyncio.Condition()
        self.unsent: dict[int, int] = {}
        self.heads: dict[int, tuple[int, list[tuple[bytes, bytes]]]] = {}
        self.bodies: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.grpc: list[tuple[int, bytes | None, int | None, str]] = []

    @property
    def fd(self) -> int:
        return self._read

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)

    def put(self, *event: Any) -> None:
        self._events.append(event)
        os.write(self._write, b"x")

    def ask(self, id: int, target: bytes = b"/", body: bytes = b"", kind: str = "http", **more: Any) -> None:
        told = {"method": b"GET", "minor": 1, "headers": [], "address": "192.0.2.7", "port": 9, "tls": False}
        told |= {"subject": ""} | more
        self.put(
            "request", id, kind, told["method"], target, told["minor"], told["headers"], body,
            told["address"], told["port"], told["tls"], told["subject"],
        )  # fmt: skip

    def take(self) -> list[tuple[Any, ...]]:
        os.read(self._read, 4096)
        events, self._events = self._events, []
        return events

    def reply_head(self, id: int, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        assert id not in self.heads, "a second head"
        self.heads[id] = status, list(headers)

    def reply_body(self, id: int, body: bytes, last: bool) -> bool:
        assert id in self.heads, "a body before its head"
        assert id not in self.ended, "a body after the last part"
        self.bodies[id] = self.bodies.get(id, b"") + body
        self.unsent[id] = self.unsent.get(id, 0) + len(body)
        if last:
            self.ended.add(id)
        return last or self.unsent[id] < self._hold_back

    def reply_grpc(
        self, id: int, message: bytes | None, status: int | None, text: str, trailers: Sequence[Any]
    ) -> bool:
        assert id not in self.ended, "a message after the status"
        self.grpc.append((id, message, status, text))
        if status is not None:
            self.ended.add(id)
        return True

    def error(self, id: int) -> str:
        return str(json.loads(self.bodies[id])["error"])


class Grpc:
    """Answers by the method's name."""

    def __init__(self) -> None:
        self.gone = 0

    def goes_on(self, method: str) -> bool:
        return method == "/s/Watch"

    async def call(self, method: str, body: bytes) -> AsyncIterator[bytes]:
        if method == "/s/Echo":
            yield body
        elif method == "/s/Fail":
            raise GrpcFailure(5, "not here")
        elif method == "/s/Break":
            raise ZeroDivisionError
        else:
            try:
                yield b"now"
                await asyncio.Event().wait()
            finally:
                self.gone += 1


async def no_app(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("the other app was meant")


@asynccontextmanager
async def bridged(
    app: App, admin: App = no_app, grpc: Grpc | None = None, hold_back: int = 1 << 20, **bounds: int
) -> AsyncIterator[tuple[Wire, Bridge, list[tuple[Any, ...]]]]:
    wire, access = Wire(hold_back), []
    bridge = Bridge(wire, app, admin, grpc or Grpc(), access.append, **bounds)
    bridge.attach(asyncio.get_running_loop())
    try:
        yield wire, bridge, access
    finally:
        await bridge.close()
        assert not bridge._running
        assert bridge._held_bytes == 0
        wire.close()


async def happens(condition: Callable[[], bool]) -> None:
    """Wait for what the loop does on its own."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0)


def run(main: Callable[[], Any]) -> None:
    asyncio.run(main())


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await JSONResponse({"hello": scope["path"]})(scope, receive, send)


async def hang(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.Event().wait()


def test_request_reaches_the_app_of_its_port_when_asked() -> None:
    async def main() -> None:
        async def admin(scope: Scope, receive: Receive, send: Send) -> None:
            await JSONResponse("admin")(scope, receive, send)

        async with bridged(hello, admin) as (wire, _, _):
            wire.ask(1, b"/a%2Fb")
            wire.ask(2, b"/x", kind="admin")
            await happens(lambda: wire.ended == {1, 2})
            status, headers = wire.heads[1]
            assert (status, wire.bodies[1]) == (200, b'{"hello":"/a/b"}')
            assert (b"content-type", b"application/json") in headers
            assert wire.bodies[2] == b'"admin"'

    run(main)


def test_scope_tells_all_of_the_request_when_it_came_by_tls() -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)
        assert await receive() == {"type": "http.request", "body": b"the body", "more_body": False}
        await JSONResponse(1)(scope, receive, send)

    async def main() -> None:
        async with bridged(app) as (wire, _, _):
            headers = [(b"a", b"1"), (b"a", b"\xff")]
            wire.ask(
                1,
                b"/p%20q?x=%20&y",
                b"the body",
                method=b"POST",
                minor=0,
                headers=headers,
                tls=True,
                subject="CN=me",
            )
            await happens(lambda: 1 in wire.ended)

    run(main)
    [scope] = seen
    assert {key: scope[key] for key in scope if key not in ("asgi", "state")} == {
        "type": "http", "http_version": "1.0", "method": "POST", "scheme": "https", "path": "/p q",
        "raw_path": b"/p%20q", "query_string": b"x=%20&y", "root_path": "", "server": None,
        "headers": [(b"a", b"1"), (b"a", b"\xff")], "client": ("192.0.2.7", 9),
        "extensions": {"falaj": {"tls": True, "certificate_subject": "CN=me"}},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"http://a.test/v2?x", b"/v2", b"x"),
        (b"HTTPS://a.test", b"/", b""),
        (b"http://a.test?x=/y", b"/", b"x=/y"),
        (b"*", b"*", b""),
        (b"ftp://a/b", b"ftp://a/b", b""),
        (b"/http://a/b", b"/http://a/b", b""),
        (b"/%ff", b"/%ff", b""),
    ],
)
def test_path_is_that_of_the_target_when_it_has_another_form(
    target: bytes, path: bytes, query: bytes
) -> None:
    from falaj.server.exchange import scope_of

    event = ("request", 1, "http", b"GET", target, 1, [], b"", "unix", 0, False, "")
    scope = scope_of(event)
    assert (scope["raw_path"], scope["query_string"], scope["client"]) == (path, query, None)


def test_app_that_fails_is_answered_for_when_nothing_was_sent(caplog: pytest.LogCaptureFixture) -> None:
    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        return

    async def raising(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError("a secret")

    async def only_a_head(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError

    async def main() -> None:
        for app in (silent, raising, only_a_head):
            async with bridged(app) as (wire, _, _):
                wire.ask(1)
                await happens(lambda: 1 in wire.ended)
                assert wire.heads[1][0] == 500
                assert "secret" not in wire.error(1)

    run(main)
    assert "a secret" in caplog.text


@pytest.mark.parametrize(
    "messages",
    [
        [{"type": "http.response.body", "body": b"x"}],
        [{"type": "http.response.start", "status": 200}, {"type": "http.response.start", "status": 200}],
        [{"type": "http.response.start", "status": 200, "headers": [(b"a", b"b\r\nset-cookie: x")]}],
        [{"type": "http.response.start", "status": 200, "headers": [(b"a\n", b"b")]}],
        [
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"3")]},
            {"type": "http.response.body", "body": b"four"},
        ],
        [
            {"type": "http.response.start", "status": 200, "headers": [(b"Content-Length", b"3")]},
            {"type": "http.response.body", "body": b"2!"},
        ],
    ],
)
def test_answer_is_an_error_when_what_the_app_sends_is_no_http(messages: list[dict[str, Any]]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    async def main() -> None:
        async with bridged(app) as (wire, _, _):
            wire.ask(1)
            await happens(lambda: 1 in wire.ended)
            assert wire.heads[1][0] == 500

    run(main)


def test_length_without_a_body_is_fine_when_only_the_head_was_asked_for() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"3")]})
        await send({"type": "http.response.body", "body": b""})

    async def main() -> None:
        async with bridged(app) as (wire, _, _):
            wire.ask(1, method=b"HEAD")
            await happens(lambda: 1 in wire.ended)
            assert wire.heads[1][0] == 200

    run(main)


def test_stream_waits_when_too_much_of_it_is_under_way() -> None:
    sent: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def parts() -> AsyncIterator[bytes]:
            for number in range(10):
                sent.append(number)
                yield b"%d" % number * 10

        await StreamingResponse(parts())(scope, receive, send)

    async def main() -> None:
        async with bridged(app, hold_back=25) as (wire, _, _):
            wire.ask(1)
            await happens(lambda: wire.unsent.get(1, 0) >= 25)
            for _ in range(20):
                await asyncio.sleep(0)
            assert len(sent) == 4  # the one that is held back was made
            assert wire.unsent[1] == 30
            wire.unsent[1] = 0
            wire.put("drained", 1)
            await happens(lambda: len(sent) > 6)
            wire.unsent[1] = -1000
            wire.put("drained", 1)
            await happens(lambda: 1 in wire.ended)
            assert wire.bodies[1] == b"".join(b"%d" % number * 10 for number in range(10))

    run(main)


def test_task_is_cancelled_and_nothing_sent_when_its_client_leaves() -> None:
    cancelled: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(1)

    async def main() -> None:
        grpc = Grpc()
        async with bridged(app, grpc=grpc) as (wire, bridge, _):
            wire.ask(1)
            wire.ask(2, b"/s/Watch", kind="grpc")
            await happens(lambda: len(wire.grpc) == 1)
            wire.put("gone", 1)
            wire.put("gone", 2)
            wire.put("gone", 99)
            wire.put("drained", 99)
            await happens(lambda: not bridge._running)
            assert (cancelled, grpc.gone) == ([1], 1)
            assert (wire.heads, wire.ended) == ({}, set())

    run(main)


def test_app_hears_of_the_end_when_it_waits_for_it() -> None:
    heard: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        waiting = asyncio.create_task(receive())
        await asyncio.sleep(0)
        assert not waiting.done()
        await JSONResponse(1)(scope, receive, send)
        heard.append(await waiting)

    async def main() -> None:
        async with bridged(app) as (wire, bridge, _):
            wire.ask(1)
            await happens(lambda: not bridge._running and bool(heard))

    run(main)
    assert heard == [{"type": "http.disconnect"}]


def test_requests_wait_in_order_or_are_refused_when_too_many_run() -> None:
    begun: list[str] = []
    gate = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        begun.append(scope["path"])
        await gate.wait()
        await JSONResponse(1)(scope, receive, send)

    async def main() -> None:
        async with bridged(app, app, max_running=2, max_waiting=3) as (wire, _, _):
            for id in range(1, 8):
                wire.ask(id, b"/%d" % id)
            wire.ask(8, b"/s/Echo", kind="grpc")
            await happens(lambda: len(wire.ended) == 3 and len(begun) == 2)
            assert begun == ["/1", "/2"]
            assert [wire.heads[id][0] for id in (6, 7)] == [503, 503]
            assert (b"retry-after", b"1") in wire.heads[6][1]
            assert "too many requests" in wire.error(6)
            [(_, message, status, text)] = wire.grpc
            assert (message, status, "too many requests" in text) == (None, 14, True)
            wire.put("gone", 4)
            wire.put("gone", 1)
            await happens(lambda: len(begun) == 3)
            gate.set()
            await happens(lambda: len(wire.ended) == 6)
            assert begun == ["/1", "/2", "/3", "/5"]

    run(main)


def test_requests_are_refused_when_too_much_is_held() -> None:
    async def main() -> None:
        async with bridged(hang, max_held_bytes=100, max_running=1) as (wire, bridge, _):
            wire.ask(1, body=b"x" * 500)  # alone it may be larger
            wire.ask(2, body=b"x")
            await happens(lambda: 2 in wire.ended)
            assert wire.heads[2][0] == 503
            wire.put("gone", 1)
            await happens(lambda: bridge._held_bytes == 0)
            wire.ask(3, body=b"x" * 60)
            wire.ask(4, body=b"x" * 40)
            wire.ask(5, body=b"x")
            await happens(lambda: 5 in wire.ended)
            assert bridge._held_bytes == 100
            wire.put("gone", 4)
            await happens(lambda: bridge._held_bytes == 60)

    run(main)


def test_grpc_answers_come_in_one_piece_with_their_status_when_unary(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        async with bridged(no_app) as (wire, _, _):
            wire.ask(1, b"/s/Echo", b"message", kind="grpc")
            wire.ask(2, b"/s/Fail", kind="grpc")
            wire.ask(3, b"/s/Break", kind="grpc")
            wire.ask(4, b"/s/Watch", kind="grpc")
            await happens(lambda: len(wire.grpc) == 4)
            assert sorted(wire.grpc) == [
                (1, b"message", 0, ""),
                (2, None, 5, "not here"),
                (3, None, 13, "internal error: ZeroDivisionError"),
                (4, b"now", None, ""),
            ]

    run(main)


def test_other_events_are_handled_when_one_cannot_be(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with bridged(hello) as (wire, bridge, _):

            def fail(line: tuple[Any, ...]) -> None:
                raise OSError("the disk is full")

            bridge._on_access = fail
            wire.put("access", "http")
            wire.ask(1, kind="nonsense")
            wire.put("something else", 1)
            wire.ask(2)
            await happens(lambda: 2 in wire.ended)
            assert bridge._held_bytes == 0

    run(main)
    assert "the disk is full" in caplog.text


def test_tasks_have_ended_when_the_bridge_is_closed() -> None:
    begun: list[int] = []
    ended: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        begun.append(1)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(1)

    async def main() -> None:
        async with bridged(app, max_running=2) as (wire, bridge, access):
            for id in range(5):
                wire.ask(id)
            wire.put("access", "http", b"GET")
            await happens(lambda: len(begun) == 2 and len(access) == 1)
            await bridge.close()
            await bridge.close()
            assert ended == [1, 1]
            wire.ask(9)
            await asyncio.sleep(0)
            assert len(bridge._running) == 0

    run(main)


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WireServing]:
    folder: Path = tmp_path_factory.mktemp("models")
    add_model(folder, zoo.mlp(), QUICK)
    with falaj.Engine(folder, cores=1, strict=True) as engine, WireServing(engine) as serving:
        yield serving


def test_apps_answer_over_sockets_when_the_wire_is_the_real_one(serving: WireServing) -> None:
    with httpx.Client(base_url=f"http://{serving.url()}") as client:
        for _ in range(3):  # on one connection
            assert client.get("/v2").json()["name"] == "falaj"
        assert client.get("/v2/models/a%2Fb").json()["error"].startswith("model 'a/b'")
        assert client.head("/v2/models/mlp").headers["content-type"] == "application/json"
        assert client.delete("/v2").status_code == 405
        assert client.get("/metrics").status_code == 404
        rows = client.post("/v2/repository/index", content=json.dumps({"ready": True})).json()
        assert [row["name"] for row in rows] == ["mlp"]
        assert len(client.get("/openapi.json").content) > 10_000
    with httpx.Client(base_url=f"http://{serving.url('admin')}") as client:
        assert client.get("/metrics").text == "up 1\n"
        assert "mlp" in client.get("/ui").text


def test_targets_are_understood_when_no_client_library_would_send_them(serving: WireServing) -> None:
    def ask(request: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", serving.ports["http"]), timeout=30) as client:
            client.sendall(request + b"\r\nhost: [\r\nconnection: close\r\n\r\n")
            answer = b""
            while chunk := client.recv(65536):
                answer += chunk
        return answer

    assert ask(b"GET http://elsewhere.test/v2/health/live HTTP/1.1").startswith(b"HTTP/1.1 200 ")
    assert ask(b"GET /v2/models/%ff HTTP/1.1").startswith(b"HTTP/1.1 400 ")
    assert ask(b"GET /v2/models/%00 HTTP/1.1").startswith(b"HTTP/1.1 404 ")
    assert ask(b"OPTIONS * HTTP/1.1").startswith(b"HTTP/1.1 404 ")
    assert ask(b"GET /v2/health/live HTTP/1.0").startswith(b"HTTP/1.1 200 ")


def test_access_is_told_of_every_request_when_all_are_sampled(serving: WireServing) -> None:
    before = len(serving.access)
    httpx.get(f"http://{serving.url()}/v2/models/nope", headers={"x-request-id": "r-1"})
    until(lambda: len(serving.access) > before, "the access log has a line")
    line = serving.access[-1]
    assert line[:5] == ("access", "http", b"GET", b"/v2/models/nope", b"r-1")
    assert line[6] == 404


def test_nothing_is_left_running_when_clients_leave_the_real_wire(serving: WireServing) -> None:
    clients = [socket.create_connection(("127.0.0.1", serving.ports["http"])) for _ in range(20)]
    for client in clients:
        client.sendall(
            b"POST /v2/repository/models/mlp/load HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"
        )
    for client in clients:
        client.close()
    until(lambda: not serving.bridge._running and not serving.bridge._waiting, "no request is left")
    assert serving.bridge._held_bytes == 0
    assert httpx.get(f"http://{serving.url()}/v2/models/mlp/ready").status_code == 200

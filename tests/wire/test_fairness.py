"""What one client holds is bounded, so that another one still gets its share."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.server.serving_process import Serving, until
from tests.serving import add_python
from tests.wire.footprint import refused
from tests.wire.good_client import GoodClient, HttpAsk
from tests.wire.raw_client import connect, infer_bytes, status_of
from tests.wire.siege import echo_folder, settings

pytestmark = pytest.mark.core

_GREEDY, _OTHER = "127.0.0.1", "127.0.0.2"
# Answers when the file `gate` lies beside it.
_GATED = """
import threading
from pathlib import Path

class Model:
    def load(self, parameters, folder):
        self.gate = Path(folder) / "gate"

    def infer(self, batch):
        while not self.gate.exists():
            threading.Event().wait(0.01)
        return {"y": batch["x"]}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    add_python(echo_folder(tmp_path) / "models", "gated", _GATED, head="max_batch_size = 64")
    return tmp_path


def _gated_request(value: float) -> bytes:
    return infer_bytes(value).replace(b"/models/echo/", b"/models/gated/")


@contextmanager
def _connections(port: int, source: str, number: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(connect(port, source)) for _ in range(number)]


def _answer(client: socket.socket) -> tuple[int, dict[bytes, bytes], bytes]:
    """Status, header fields and body of the next answer."""
    with client.makefile("rb") as stream:
        status = status_of(stream.readline())
        fields = {}
        while (line := stream.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            fields[name.lower()] = value.strip()
        return status, fields, stream.read(int(fields[b"content-length"]))


def _ask_all(clients: list[socket.socket]) -> None:
    for i, client in enumerate(clients):
        client.sendall(_gated_request(float(i)))


def _refused_now(clients: list[socket.socket], number: int, status: int) -> list[int]:
    """Wait until so many were answered, each with that status and Retry-After; return the others."""
    waiting = list(range(len(clients)))

    def step() -> bool:
        for i in list(waiting):
            clients[i].setblocking(False)
            try:
                there = clients[i].recv(1, socket.MSG_PEEK)
            except BlockingIOError:
                continue
            finally:
                clients[i].settimeout(60)
            assert there, "the server closed a connection"
            told, fields, body = _answer(clients[i])
            assert (told, fields[b"retry-after"]) == (status, b"1"), body
            assert json.loads(body)["error"]
            waiting.remove(i)
        return len(clients) - len(waiting) >= number

    until(step, f"{number} requests are refused")
    return waiting


def _take_right_answers(clients: list[socket.socket], numbers: list[int]) -> None:
    for i in numbers:
        status, _, body = _answer(clients[i])
        assert (status, json.loads(body)["outputs"][0]["data"]) == (200, [float(i)])


def test_requests_beyond_the_bound_get_503_and_the_others_are_answered(folder: Path) -> None:
    bounds = settings(limits__max_requests_in_flight=20, limits__max_requests_per_client=20)
    with (
        Serving(folder, *bounds) as server,
        _connections(server.ready["http"], _GREEDY, 50) as clients,
    ):
        _ask_all(clients)
        waiting = _refused_now(clients, 30, 503)
        assert len(waiting) == 20
        assert refused(server, "http")["in_flight"] >= 30
        (folder / "models" / "gated" / "1" / "gate").touch()
        _take_right_answers(clients, waiting)
        # Those that were refused may ask again on the connection that they have.
        again = [i for i in range(50) if i not in waiting]
        for i in again:
            clients[i].sendall(_gated_request(float(i)))
            _take_right_answers(clients, [i])


def test_other_client_is_answered_when_one_asks_more_than_its_bound(folder: Path) -> None:
    bounds = settings(limits__max_requests_in_flight=40, limits__max_requests_per_client=10)
    with (
        Serving(folder, *bounds) as server,
        _connections(server.ready["http"], _GREEDY, 100) as greedy,
        GoodClient(HttpAsk(server.ready["http"], source=_OTHER)) as good,
    ):
        _ask_all(greedy)
        waiting = _refused_now(greedy, 90, 429)
        assert len(waiting) == 10
        good.goes_on()
        assert refused(server, "http")["client_share"] == 90
        (folder / "models" / "gated" / "1" / "gate").touch()
        _take_right_answers(greedy, waiting)


def test_clients_share_equally_when_most_places_are_taken(folder: Path) -> None:
    bounds = settings(limits__max_requests_in_flight=40, limits__max_requests_per_client=40)
    with (
        Serving(folder, *bounds) as server,
        _connections(server.ready["http"], _GREEDY, 60) as greedy,
        _connections(server.ready["http"], _OTHER, 60) as other,
    ):
        _ask_all(other[:1])  # so that there are two with requests under way
        until(lambda: _in_flight(server) >= 1, "the other client's first request is under way")
        _ask_all(greedy)
        waiting = _refused_now(greedy, 40, 429)
        assert len(waiting) == 20, "more than half are taken: an equal share of 40 for each of two"
        for i in range(1, 60):
            other[i].sendall(_gated_request(float(i)))
        rest = _refused_now(other, 40, 503)  # all 40 are taken
        assert len(rest) == 20
        (folder / "models" / "gated" / "1" / "gate").touch()
        _take_right_answers(greedy, waiting)
        _take_right_answers(other, rest)


def _in_flight(server: Serving) -> float:
    page = server.ask("GET", "/metrics", listener="metrics")[2].decode()
    line = next(line for line in page.splitlines() if line.startswith("falaj_requests_in_flight "))
    return float(line.split()[1])


def test_other_client_connects_when_one_has_all_connections_of_its_own(folder: Path) -> None:
    with (
        Serving(folder, *settings(limits__max_connections_per_client=50)) as server,
        _connections(server.ready["http"], _GREEDY, 49) as greedy,
    ):
        greedy[-1].sendall(infer_bytes())  # all before it have been taken when it is answered
        assert _answer(greedy[-1])[0] == 200
        with (
            GoodClient(HttpAsk(server.ready["http"], source=_OTHER)) as good,
            _connections(server.ready["http"], _GREEDY, 30) as beyond,
        ):
            for client in beyond[1:]:
                status, fields, _ = _answer(client)
                assert (status, fields[b"retry-after"]) == (503, b"1")
            good.goes_on()
        greedy[0].sendall(infer_bytes())
        assert _answer(greedy[0])[0] == 200
        for client in greedy:
            client.close()
        until(lambda: _can_ask(server), "places are free again")
        assert refused(server, "http")["client_connections"] >= 29


def _can_ask(server: Serving) -> bool:
    try:
        return server.is_ready()
    except OSError:
        return False

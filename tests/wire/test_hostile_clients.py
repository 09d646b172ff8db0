"""Clients of HTTP that do harm, while others are to notice nothing of it."""

import gzip
import json
import os
import random
import socket
from contextlib import suppress

import pytest

from tests.server.serving_process import until
from tests.wire.raw_client import (
    HEAD,
    binary_infer,
    connect,
    infer_bytes,
    is_readable,
    reset,
    rest_of,
    send_what_goes,
    status_of,
    with_length,
)
from tests.wire.siege import Siege

pytestmark = pytest.mark.core

_LARGE = 100_000  # columns


def _trickle(clients: list[socket.socket], data: bytes) -> list[bytes]:
    """Send a byte at a time on each connection until the server answers; return the answers."""
    answers: dict[int, bytes] = {}

    def step() -> bool:
        for i, client in enumerate(clients):
            if i in answers:
                continue
            if is_readable(client, 0):
                answers[i] = rest_of(client)
                client.close()
            else:
                send_what_goes(client, data[:1])
        return len(answers) == len(clients)

    until(step, "the server gives up slow clients")
    return [answers[i] for i in range(len(clients))]


def test_good_clients_are_answered_when_others_send_headers_a_byte_at_a_time(siege: Siege) -> None:
    with siege.unharmed(header_timeout=20):
        clients = [connect(siege.http) for _ in range(20)]
        for client in clients:
            client.sendall(HEAD + b"X-")
        for answer in _trickle(clients, b"a"):
            assert status_of(answer) == 408, answer


@pytest.mark.parametrize("fields", [b"Content-Length: 100000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"])
def test_good_clients_are_answered_when_others_send_bodies_a_byte_at_a_time(
    siege: Siege, fields: bytes
) -> None:
    with siege.unharmed(body_timeout=20):
        clients = [connect(siege.http) for _ in range(20)]
        for client in clients:
            client.sendall(HEAD + fields + (b"186a0\r\n" if b"chunked" in fields else b""))
        for answer in _trickle(clients, b" "):
            assert status_of(answer) == 408, answer


def test_good_clients_are_answered_when_others_stop_in_a_body(siege: Siege) -> None:
    with siege.unharmed(body_timeout=20):
        clients = [connect(siege.http) for _ in range(20)]
        for client in clients:
            client.sendall(binary_infer(_LARGE)[:_LARGE])
        for client in clients:
            assert status_of(rest_of(client)) == 408
            client.close()


def test_silent_connections_are_closed_when_they_say_nothing(siege: Siege) -> None:
    with siege.unharmed(idle_timeout=100):
        clients = [connect(siege.http) for _ in range(100)]
        for client in clients:
            assert rest_of(client) == b""
            client.close()


@pytest.mark.parametrize("said", [b"", HEAD, binary_infer(_LARGE)[:_LARGE]], ids=["nothing", "head", "body"])
def test_half_open_connections_are_closed_when_their_client_has_ended_its_side(
    siege: Siege, said: bytes
) -> None:
    with siege.unharmed():
        clients = [connect(siege.http) for _ in range(50)]
        for client in clients:
            client.sendall(said)
            client.shutdown(socket.SHUT_WR)
        for client in clients:
            assert rest_of(client) == b""
            client.close()


@pytest.mark.parametrize(
    "head",
    [
        HEAD + b"X-Large: " + b"a" * 40_000,
        HEAD + b"X-Large: 1\r\n" * 4000,
        b"GET /" + b"a" * 40_000,
    ],
    ids=["field", "fields", "target"],
)
def test_large_header_is_refused_with_431(siege: Siege, head: bytes) -> None:
    with siege.unharmed(header_size=50):
        for _ in range(50):
            client = connect(siege.http)
            send_what_goes(client, head)
            assert status_of(rest_of(client)) == 431
            client.close()


def test_large_body_is_refused_with_413_when_it_is_announced(siege: Siege) -> None:
    with siege.unharmed(body_size=100):
        for length in (b"4194305", b"1000000000000000000") * 50:
            client = connect(siege.http)
            client.sendall(HEAD + b"Content-Length: " + length + b"\r\n\r\n" + b"{" * 1000)
            assert status_of(rest_of(client)) == 413
            client.close()


def test_large_body_is_refused_with_413_when_it_comes_in_chunks(siege: Siege) -> None:
    chunk = b"40000\r\n" + b" " * 0x40000 + b"\r\n"
    with siege.unharmed(body_size=20):
        for _ in range(20):
            client = connect(siege.http)
            client.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
            for _ in range(40):
                if not send_what_goes(client, chunk) or is_readable(client, 0):
                    break
            assert status_of(rest_of(client)) == 413
            client.close()


def test_compressed_body_is_refused_with_413_when_it_is_large_inside(siege: Siege) -> None:
    bomb = gzip.compress(bytes(200 << 20), 9)
    assert len(bomb) < 1 << 20
    with siege.unharmed():
        for _ in range(8):
            client = connect(siege.http)
            client.sendall(with_length(bomb, b"Content-Encoding: gzip\r\nConnection: close\r\n"))
            assert status_of(rest_of(client)) == 413
            client.close()


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 2_000_000,
        b'{"a":' * 400_000,
        b'{"inputs":[{"name":"x","shape":[1,1],"datatype":"FP32","data":' + b"[" * 2_000_000,
        b'{"parameters":{"a":' + b"[" * 2_000_000 + b"]" * 2_000_000 + b"}}",
    ],
    ids=["arrays", "objects", "data", "parameters"],
)
def test_json_is_refused_with_400_when_it_is_nested_deeply(siege: Siege, body: bytes) -> None:
    with siege.unharmed():
        for _ in range(10):
            client = connect(siege.http)
            client.sendall(with_length(body, b"Connection: close\r\n"))
            assert status_of(rest_of(client)) == 400
            client.close()


def test_good_clients_are_answered_when_connections_are_cut_in_the_middle(siege: Siege) -> None:
    whole, large = infer_bytes(), binary_infer(_LARGE)
    with siege.unharmed():
        for i in range(600):
            client = connect(siege.http)
            data = (whole[: i % len(whole)], large[: 1000 * (i % 400)], large)[i % 3]
            send_what_goes(client, data)
            reset(client) if i % 2 else client.close()


def test_good_clients_are_answered_when_others_send_garbage(siege: Siege) -> None:
    chance = random.Random(1)
    with siege.unharmed(malformed=100):
        for _ in range(300):
            client = connect(siege.http)
            send_what_goes(client, chance.randbytes(chance.randrange(1, 20_000)))
            send_what_goes(client, b"\r\n\r\n\r\n")
            assert status_of(rest_of(client)) in (0, 400, 408, 431, 501, 505)
            client.close()


def test_answers_are_right_and_in_order_when_requests_are_pipelined_in_floods(siege: Siege) -> None:
    many = 2000
    flood = b"".join(infer_bytes(float(i)) for i in range(many))
    with siege.unharmed():
        for _ in range(3):
            client = connect(siege.http)
            client.setblocking(False)
            assert _values(_exchange(client, flood, many)) == [float(i) for i in range(many)]
            client.close()


def _exchange(client: socket.socket, data: bytes, answers: int) -> bytes:
    """Send and receive at the same time until so many answers have come."""
    told, sent = bytearray(), 0

    def step() -> bool:
        nonlocal sent
        if sent < len(data):
            with suppress(BlockingIOError):
                sent += client.send(data[sent : sent + 65536])
        if is_readable(client, 0.001):
            piece = client.recv(1 << 20)
            assert piece, "the server closed"
            told.extend(piece)
        return told.count(b"HTTP/1.1 ") == answers and told.endswith(b"}")

    until(step, "the pipelined requests are answered")
    return bytes(told)


def _values(answers: bytes) -> list[float]:
    bodies = (answer.partition(b"\r\n\r\n")[2] for answer in answers.split(b"HTTP/1.1 ")[1:])
    return [json.loads(body)["outputs"][0]["data"][0] for body in bodies]


_not_under_tsan = pytest.mark.skipif(
    "libtsan" in os.environ.get("LD_PRELOAD", ""),
    reason="ThreadSanitizer's server takes longer to read ten bodies of a megabyte than bodies may take here",
)


@pytest.mark.parametrize("columns", [pytest.param(250_000, marks=_not_under_tsan), 4000])
def test_connections_are_closed_when_clients_never_read_their_answers(siege: Siege, columns: int) -> None:
    endless = Endless(binary_infer(columns))
    with siege.unharmed(write_timeout=10):
        clients = [connect(siege.http, receive_buffer=4096) for _ in range(10)]
        until(lambda: endless.send(clients), "clients that take nothing are sent away")
        for client in clients:
            client.close()


class Endless:
    """The same request again and again, to each of several connections as fast as it takes them."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._sent: dict[socket.socket, int] = {}
        self._gone: set[socket.socket] = set()

    def send(self, clients: list[socket.socket]) -> bool:
        """Send what they take now; whether all have been closed by the server."""
        for client in clients:
            if client in self._gone:
                continue
            client.setblocking(False)
            at = self._sent.get(client, 0)
            try:
                sent = client.send(memoryview(self._request)[at:])
            except BlockingIOError:
                continue
            except ConnectionError:
                self._gone.add(client)
                continue
            self._sent[client] = (at + sent) % len(self._request)
        return len(self._gone) == len(clients)

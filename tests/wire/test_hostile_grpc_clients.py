"""Clients of gRPC, and of TLS, that do harm, while others are to notice nothing of it."""

import random
import select
import socket
import ssl
import struct
from collections.abc import Iterator
from itertools import count

import grpc
import pytest

from tests.certificates import Authority
from tests.server.serving_process import Serving, until
from tests.wire import attack_frames as http2
from tests.wire.footprint import Footprint, refused, until_back
from tests.wire.good_client import GrpcAsk, HttpAsk
from tests.wire.raw_client import connect, reset, rest_of, send_what_goes
from tests.wire.siege import GROWTH, Siege, echo_folder, good_clients, settings, warm

pytestmark = pytest.mark.core

_CLIENTS = 2
# Of an attack that the server has to end; far more than it lets anybody send, and than it reads and drops
# after it has said goodbye.
_MOST_BYTES = 64 << 20
_COLUMNS = 16_000


def _streams() -> Iterator[int]:
    return count(1, 2)


def _resets() -> Iterator[bytes]:
    for stream in _streams():
        yield http2.call_head(stream) + http2.rst_stream(stream)


def _resets_of_requests() -> Iterator[bytes]:
    """Each call has been asked whole when it is taken back."""
    message = http2.infer_message()
    for stream in _streams():
        yield http2.call_head(stream) + http2.data_frames(stream, message) + http2.rst_stream(stream)


def _pings() -> Iterator[bytes]:
    for i in count():
        yield http2.frame(http2.PING, 0, 0, struct.pack(">Q", i))


def _settings() -> Iterator[bytes]:
    while True:
        yield http2.frame(http2.SETTINGS, 0, 0, struct.pack(">HI", 3, 100))


def _empty_data() -> Iterator[bytes]:
    yield http2.call_head(1)
    while True:
        yield http2.frame(http2.DATA, 0, 1)


def _empty_window_updates() -> Iterator[bytes]:
    while True:
        yield http2.frame(http2.WINDOW_UPDATE, 0, 0, bytes(4))


def _headers_without_end() -> Iterator[bytes]:
    yield http2.frame(http2.HEADERS, 0, 1, http2.CALL_FIELDS)
    field = http2.field(b"x-large", b"a" * 100)
    while True:
        yield http2.frame(http2.CONTINUATION, 0, 1, field * 10)


def _large_metadata() -> Iterator[bytes]:
    """Far more metadata than is allowed, by references to one field that was sent once."""
    entry = b"\x40" + http2.field(b"x-large", b"a" * 120)[1:]
    yield http2.frame(http2.HEADERS, http2.END_HEADERS, 1, http2.CALL_FIELDS + entry + b"\xbe" * 4000)
    for stream in range(3, 2**31, 2):
        yield http2.frame(http2.HEADERS, http2.END_HEADERS, stream, http2.CALL_FIELDS + b"\xbe" * 4000)


@pytest.mark.parametrize(
    ("attack", "reason"),
    [
        (_resets, "flood"),
        (_resets_of_requests, "flood"),
        (_pings, "flood"),
        (_settings, "flood"),
        (_empty_data, "flood"),
        (_empty_window_updates, "malformed"),
        (_headers_without_end, "malformed"),
    ],
)
def test_clients_are_sent_away_when_they_flood_a_connection(
    siege: Siege, attack: object, reason: str
) -> None:
    assert callable(attack)
    with siege.unharmed("grpc", **{reason: _CLIENTS}):
        for _ in range(_CLIENTS):
            client = connect(siege.grpc)
            frames: Iterator[bytes] = attack()
            assert send_what_goes(client, http2.greeting())
            sent = 0
            while send_what_goes(client, piece := b"".join(next(frames) for _ in range(1000))):
                sent += len(piece)
                assert sent < _MOST_BYTES, "the server lets it go on"
            client.close()


def test_calls_end_when_their_metadata_is_large(siege: Siege) -> None:
    with siege.unharmed("grpc"):
        client = connect(siege.grpc)
        frames = _large_metadata()
        send_what_goes(client, http2.greeting() + b"".join(next(frames) for _ in range(300)))
        client.shutdown(socket.SHUT_WR)
        rest_of(client)
        client.close()


def test_calls_beyond_the_bound_are_refused_when_a_client_opens_very_many(siege: Siege) -> None:
    with siege.unharmed("grpc"):
        for _ in range(_CLIENTS):
            client = connect(siege.grpc)
            heads = b"".join(http2.call_head(stream) for stream in range(1, 10_000, 2))
            send_what_goes(client, http2.greeting() + heads)
            client.shutdown(socket.SHUT_WR)
            rest_of(client)
            client.close()


def test_connections_are_closed_when_grpc_clients_say_nothing(siege: Siege) -> None:
    with siege.unharmed("grpc", header_timeout=100):
        clients = [connect(siege.grpc) for _ in range(100)]
        for i, client in enumerate(clients):
            client.sendall(http2.PREFACE[: i % 24])
        for client in clients:
            rest_of(client)
            client.close()


def test_connections_are_closed_when_grpc_clients_have_ended_their_side(siege: Siege) -> None:
    message = http2.infer_message(_COLUMNS)
    said = http2.greeting() + http2.call_head(1) + http2.data_frames(1, message)
    with siege.unharmed("grpc"):
        clients = [connect(siege.grpc) for _ in range(50)]
        for i, client in enumerate(clients):
            client.sendall(said[: i * 1000])
            client.shutdown(socket.SHUT_WR)
        for client in clients:
            rest_of(client)
            client.close()


def test_good_clients_are_answered_when_grpc_connections_are_cut_in_the_middle(siege: Siege) -> None:
    said = http2.greeting() + http2.call_head(1) + http2.data_frames(1, http2.infer_message(_COLUMNS))
    with siege.unharmed("grpc"):
        for i in range(400):
            client = connect(siege.grpc)
            send_what_goes(client, said[: i * 170])
            reset(client) if i % 2 else client.close()


def test_good_clients_are_answered_when_the_grpc_port_gets_garbage(siege: Siege) -> None:
    chance = random.Random(2)
    with siege.unharmed("grpc", malformed=250):
        for i in range(300):
            client = connect(siege.grpc)
            if i % 3 == 0:
                send_what_goes(client, http2.greeting())
            send_what_goes(client, chance.randbytes(chance.randrange(100, 20_000)))
            client.shutdown(socket.SHUT_WR)
            rest_of(client)
            client.close()


def test_connections_are_closed_when_grpc_clients_never_read_their_answers(siege: Siege) -> None:
    message = http2.infer_message(120_000)
    with siege.unharmed("grpc", write_timeout=_CLIENTS):
        clients = []
        for _ in range(_CLIENTS):
            # Each when it is its turn to speak: the server waits a second for a greeting, no longer.
            client = connect(siege.grpc, receive_buffer=4096)
            clients.append(client)
            client.sendall(http2.greeting(2**31 - 1))
            client.sendall(http2.frame(http2.WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**31 - 1 - 65535)))
            http2.agree(client)
            # Within the windows that the server gives in advance.
            calls = b"".join(
                http2.call_head(stream) + http2.data_frames(stream, message) for stream in range(1, 66, 2)
            )
            send_what_goes(client, calls)
        for client in clients:
            until(lambda client=client: _is_gone(client), "a client that takes nothing is sent away")  # type: ignore[misc]
            client.close()


def _is_gone(client: socket.socket) -> bool:
    """Whether the server has reset the connection, found out without reading what it sent before."""
    return client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0 or bool(_hung_up(client))


def _hung_up(client: socket.socket) -> int:
    poll = select.poll()
    poll.register(client, 0)
    return sum(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Serving, Authority]]:
    folder = echo_folder(tmp_path_factory.mktemp("encrypted"))
    authority = Authority(folder)
    own = authority.issue("server")
    # Good clients greet in that time too, with all that encryption and a sanitizer add to it.
    bounds = settings(http__header_timeout_seconds=5, grpc__handshake_timeout_seconds=5)
    files = ("--tls-certificate", str(own.certificate), "--tls-key", str(own.key))
    with Serving(folder, *files, *bounds) as server:
        yield server, authority


def _tls_garbage(chance: random.Random, i: int) -> bytes:
    size = chance.randrange(1, 4000)
    hello = b"\x16\x03\x01" + struct.pack(">H", size)
    return (
        chance.randbytes(size),
        hello + chance.randbytes(size),
        hello + b"\x01" + struct.pack(">I", size - 4)[1:] + b"\x03\x03" + chance.randbytes(size),
        b"GET / HTTP/1.1\r\nHost: falaj\r\n\r\n",
        http2.greeting(),
        b"",
    )[i % 6]


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_good_clients_are_answered_when_a_tls_port_gets_garbage(
    encrypted: tuple[Serving, Authority], protocol: str
) -> None:
    server, authority = encrypted
    port = server.ready[protocol]

    def asks() -> tuple[HttpAsk, GrpcAsk]:
        context = ssl.create_default_context(cafile=str(authority.certificate))
        credentials = grpc.ssl_channel_credentials(authority.certificate.read_bytes())
        return (
            HttpAsk(server.ready["http"], context=context),
            GrpcAsk(server.ready["grpc"], credentials=credentials),
        )

    warm(*asks())
    chance = random.Random(3)
    counted = refused(server, protocol)["tls"]
    before = Footprint.of(server.pid)
    with good_clients(*asks()):
        clients = [connect(port) for _ in range(300)]
        for i, client in enumerate(clients):
            send_what_goes(client, _tls_garbage(chance, i))
        for client in clients:
            rest_of(client)
            client.close()
    until_back(server.pid, before, GROWTH)
    assert refused(server, protocol)["tls"] - counted == 300

"""What the gRPC port bears of a client, and how it parts with one that asks too much (RFC 9113, 10.5)."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.server.serving_process import Serving
from tests.serving import add_python
from tests.wire.conftest import GATED
from tests.wire.http2_client import Http2Client, call, infer_message, rows_of
from tests.wire.http2_frames import (
    Code,
    Setting,
    Type,
    block,
    continuation,
    data,
    goaway,
    headers,
    literal,
    ping,
    priority,
    request_fields,
    rst_stream,
    settings,
    window_update,
)

pytestmark = pytest.mark.core

_STREAMS = range(1, 1001, 2)
# More than any of the bounds, as one second's.
FLOODS = {
    "rapid-reset": b"".join(headers(i) + rst_stream(i) for i in _STREAMS),
    "reset-of-requests-under-way": b"".join(call(i) + rst_stream(i) for i in _STREAMS),
    "ping-acks": ping(ack=True) * 500,
    "settings": settings() * 500,
    "settings-that-change": (settings([(Setting.INITIAL_WINDOW_SIZE, 1)]) + settings([(4, 2)])) * 250,
    "priorities": priority(1, 0) * 500,
    "goaways": goaway() * 500,
    "data-without-bytes": headers(1) + data(1) * 500,
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS.keys())
def test_client_is_sent_away_when_it_floods(port: int, flood: bytes) -> None:
    with Http2Client(port) as client:
        client.send(flood)
        found = client.until_closed()
        assert found[-1].type == Type.GOAWAY
        assert found[-1].goodbye[1] == Code.ENHANCE_YOUR_CALM


PROVOKING = {
    "fields": lambda stream: headers(stream, [("a", "b")]),
    "windows": lambda stream: headers(stream) + window_update(stream, 2**31 - 1),
    "content-length": lambda stream: headers(stream, [*request_fields(), ("content-length", "1")], end=True),
}


@pytest.mark.parametrize("provoke", PROVOKING.values(), ids=PROVOKING.keys())
def test_client_is_sent_away_when_it_makes_the_server_reset(
    port: int, provoke: Callable[[int], bytes]
) -> None:
    with Http2Client(port) as client:
        for stream in _STREAMS:
            client.send(provoke(stream))
            told = client.until(lambda got: got.type in (Type.RST_STREAM, Type.GOAWAY))[-1]
            if told.type == Type.GOAWAY:
                assert told.goodbye[1] == Code.ENHANCE_YOUR_CALM
                return
    pytest.fail("the server went on")


def test_client_is_told_of_too_many_pings_when_it_pings_all_the_time(port: int) -> None:
    with Http2Client(port) as client:
        client.send(ping() * 5)
        # gRPC's libraries ping less often from then on, by this text.
        assert client.until_closed()[-1].goodbye[1:] == (Code.ENHANCE_YOUR_CALM, b"too_many_pings")


@pytest.mark.parametrize("piece", [b"", literal("a", "v" * 10_000)], ids=["empty", "full"])
def test_connection_is_closed_when_a_header_block_does_not_end(port: int, piece: bytes) -> None:
    with Http2Client(port) as client:
        client.send(headers(1, end_headers=False) + continuation(1, piece, end_headers=False) * 100)
        assert Type.DATA not in {got.type for got in client.until_closed()}


def test_streams_are_refused_when_the_client_has_not_heard_of_the_bound(port: int) -> None:
    with Http2Client(port, acknowledge=False) as client:
        client.send(b"".join(headers(i) for i in range(1, 19, 2)))
        reset = client.until(lambda got: got.type == Type.RST_STREAM)[-1]
        assert (reset.stream, reset.number) == (17, Code.REFUSED_STREAM)
        client.send(data(1, infer_message(), end=True))
        assert rows_of(client.reply(1)) == 1
        client.assert_answers(19)


def test_client_is_sent_away_when_it_opens_more_streams_than_it_agreed_to(port: int) -> None:
    # A stream error by the RFC (5.1.2), which lets a server end the connection for it (5.4.1).
    with Http2Client(port) as client:
        client.send(b"".join(headers(i) for i in range(1, 19, 2)))
        assert client.until_closed()[-1].goodbye[:2] == (15, Code.PROTOCOL_ERROR)


def _padded_with(size: int) -> list[tuple[str, str]]:
    return [*request_fields(), *((f"x-{i}", "v" * 1000) for i in range(size // 1000))]


def test_call_is_answered_with_a_status_when_its_metadata_is_too_large(port: int) -> None:
    with Http2Client(port) as client:
        assert client.server_settings[Setting.MAX_HEADER_LIST_SIZE] == 16 * 1024
        client.send(headers(1, _padded_with(20_000)) + data(1, infer_message(), end=True))
        ended = client.until(lambda got: got.stream == 1 and got.ends_stream)[-1]
        assert ended.type == Type.HEADERS
        client.assert_answers(3)


def test_stream_is_reset_when_its_metadata_is_far_too_large(port: int) -> None:
    fields = block(_padded_with(100_000))
    with Http2Client(port) as client:
        client.send(headers(1, fields[:60_000], end_headers=False) + continuation(1, fields[60_000:]))
        reset = client.until(lambda got: got.type == Type.RST_STREAM)[-1]
        assert reset.stream == 1
        client.assert_answers(3)


def test_call_is_ended_when_what_it_began_does_not_go_on(tmp_path: Path) -> None:
    add_python(tmp_path / "models", "echo")
    with (
        Serving(tmp_path, "--set", "grpc.message_timeout_seconds=0.2") as server,
        Http2Client(server.ready["grpc"]) as client,
    ):
        client.send(headers(1) + data(1, infer_message()[:20]))
        ended = client.until(lambda got: got.stream == 1 and got.ends_stream)[-1]
        assert ended.type == Type.HEADERS
        fields = block(request_fields())
        client.send(headers(3, fields[:20], end_headers=False))
        reset = client.until(lambda got: got.type == Type.RST_STREAM and got.stream == 3)[-1]
        assert reset.number == Code.CANCEL
        client.send(continuation(3, fields[20:]))
        client.assert_answers(5)


def test_calls_under_way_are_answered_when_the_client_says_goodbye(port: int, gate: Path) -> None:
    with Http2Client(port) as client:
        client.send(headers(1) + data(1, infer_message(model="gated"), end=True) + goaway())
        client.so_far()
        gate.touch()
        assert rows_of(client.reply(1)) == 1
        assert [got.type for got in client.until_closed()] in ([], [Type.GOAWAY])


def test_goodbye_is_said_and_calls_are_answered_when_the_server_ends(tmp_path: Path) -> None:
    model = add_python(tmp_path / "models", "gated", GATED)
    with Serving(tmp_path) as server, Http2Client(server.ready["grpc"]) as client:
        client.send(headers(1) + data(1, infer_message(model="gated"), end=True))
        client.so_far()
        server.send(signal.SIGTERM)
        # First that it is about to end, then where it did.
        notice = client.until(lambda got: got.type == Type.GOAWAY)[-1]
        assert notice.goodbye[:2] == (2**31 - 1, Code.NO_ERROR)
        client.acknowledge_ping()
        client.send(headers(3) + data(3, infer_message(model="gated"), end=True))  # begun before that
        client.acknowledge_ping()
        last = client.until(lambda got: got.type == Type.GOAWAY)[-1]
        assert last.goodbye[:2] == (3, Code.NO_ERROR)
        client.send(call(5))  # beyond the last, and so not begun
        (model / "gate").touch()
        found = client.until_closed()
        ended = {got.stream for got in found if got.type == Type.HEADERS and got.ends_stream}
        assert ended == {1, 3}
        assert server.wait() == 0


def test_goodbye_is_said_to_earlier_clients_alone_when_the_end_is_announced(tmp_path: Path) -> None:
    add_python(tmp_path / "models", "echo")
    with Serving(tmp_path, "--drain-seconds", "600") as server:
        port = server.ready["grpc"]
        with Http2Client(port) as earlier:
            earlier.send(call(1))
            assert rows_of(earlier.reply(1)) == 1
            server.send(signal.SIGTERM)
            notice = earlier.until(lambda got: got.type == Type.GOAWAY)[-1]
            assert notice.goodbye[:2] == (2**31 - 1, Code.NO_ERROR)
            earlier.acknowledge_ping()
            earlier.send(call(3))  # begun before that
            found = earlier.acknowledge_ping() + earlier.until_closed()
            assert [got.stream for got in found if got.type == Type.HEADERS and got.ends_stream] == [3]
            assert [got.goodbye[:2] for got in found if got.type == Type.GOAWAY] == [(3, Code.NO_ERROR)]
        # It would only be back again.
        with Http2Client(port) as later:
            later.send(call(1))
            assert rows_of(later.reply(1)) == 1
            assert Type.GOAWAY not in {got.type for got in later.so_far()}

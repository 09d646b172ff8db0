"""Flow control of the gRPC port, both ways, frame by frame (RFC 9113, 5.2 and 6.9)."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.wire.http2_client import (
    Http2Client,
    call,
    infer_message,
    rows_of,
    rows_of_streamed,
    split_messages,
)
from tests.wire.http2_frames import (
    DEFAULT_WINDOW,
    STREAM_INFER,
    Code,
    Frame,
    Setting,
    Type,
    data,
    headers,
    request_fields,
    rst_stream,
    settings,
    window_update,
)

pytestmark = pytest.mark.core

_LARGE = 1 << 30


def _bytes_of(frames: Iterable[Frame], stream: int = 1) -> int:
    return sum(len(got.payload) for got in frames if (got.type, got.stream) == (Type.DATA, stream))


def _payload(frames: Iterable[Frame]) -> bytes:
    """Of a connection with one call."""
    return b"".join(got.payload for got in frames if got.type == Type.DATA)


def _given(frames: Iterable[Frame], stream: int) -> int:
    """By how much the server opened a window."""
    return sum(got.number for got in frames if (got.type, got.stream) == (Type.WINDOW_UPDATE, stream))


def _take(client: Http2Client, size: int, stream: int = 1) -> bytes:
    """The next `size` bytes of a reply: they have to come, and no more than they."""
    taken: list[Frame] = []
    while _bytes_of(taken, stream) < size:
        taken += client.until(lambda got: got.type == Type.DATA and got.stream == stream)
    taken += client.so_far()
    assert _bytes_of(taken, stream) == size
    return _payload(taken)


def _initial(window: int) -> bytes:
    return settings([(Setting.INITIAL_WINDOW_SIZE, window)])


def test_reply_goes_as_far_as_the_streams_window_when_that_is_small(port: int) -> None:
    with Http2Client(port, [(Setting.INITIAL_WINDOW_SIZE, 10)]) as client:
        client.send(call(1, rows=1000))
        taken = _take(client, 10)
        client.send(window_update(1, 7))
        taken += _take(client, 7)
        client.send(_initial(100))  # for open streams too: 90 more
        taken += _take(client, 90)
        client.send(_initial(20) + window_update(1, 80))  # 80 below nothing, and back to nothing
        assert _bytes_of(client.so_far()) == 0
        client.send(window_update(1, 1))
        taken += _take(client, 1)
        client.send(window_update(1, _LARGE))
        rest = client.until(lambda got: got.stream == 1 and got.ends_stream)
        assert rows_of(taken + _payload(rest)) == 1000


def test_reply_goes_as_far_as_the_connections_window_when_the_streams_is_wide(port: int) -> None:
    with Http2Client(port, [(Setting.INITIAL_WINDOW_SIZE, _LARGE)]) as client:
        client.send(headers(1))
        client.upload(1, infer_message(rows=40_000))
        taken = _take(client, DEFAULT_WINDOW)
        client.send(window_update(0, 1000))
        taken += _take(client, 1000)
        client.send(window_update(0, _LARGE))
        rest = client.until(lambda got: got.stream == 1 and got.ends_stream)
        assert rows_of(taken + _payload(rest)) == 40_000


def test_other_calls_are_answered_when_one_has_no_window(port: int) -> None:
    with Http2Client(port, [(Setting.INITIAL_WINDOW_SIZE, 0)]) as client:
        client.send(call(1, rows=1000))
        assert client.until(lambda got: got.stream == 1)[-1].type == Type.HEADERS
        for stream in (3, 5, 7):
            client.send(call(stream) + window_update(stream, 1000))
            assert rows_of(client.reply(stream)) == 1
        client.send(window_update(1, _LARGE))
        rest = client.until(lambda got: got.stream == 1 and got.ends_stream)
        assert rows_of(_payload(rest)) == 1000


def test_frames_are_no_larger_than_the_client_takes_when_a_reply_is_long(port: int) -> None:
    with Http2Client(port, [(Setting.INITIAL_WINDOW_SIZE, _LARGE)]) as client:
        client.send(window_update(0, _LARGE) + headers(1))
        client.upload(1, infer_message(rows=40_000))
        sizes = [len(got.payload) for got in client.until(lambda got: got.ends_stream)]
        assert max(sizes) == 16_384


@pytest.mark.parametrize("padding", [None, 0, 255])
def test_window_is_given_back_when_a_message_is_larger_than_it(port: int, padding: int | None) -> None:
    with Http2Client(port) as client:
        client.send(headers(1) + window_update(0, _LARGE) + window_update(1, _LARGE))
        client.upload(1, infer_message(rows=60_000), 8000 if padding is None else 300, padding)
        assert rows_of(client.reply(1)) == 60_000


def test_connections_window_is_given_back_when_data_comes_for_a_closed_stream(port: int) -> None:
    with Http2Client(port) as client:
        client.send(headers(1) + rst_stream(1))
        for _ in range(10):
            client.send(data(1, bytes(16_000)) * 3)
            given = 0
            while given < 30_000:  # what is less than half of the window may be kept
                given += _given(client.until(lambda got: got.type == Type.WINDOW_UPDATE), 0)
        client.assert_answers(3)


def test_stream_is_reset_when_its_client_sends_beyond_the_window(port: int, gate: Path) -> None:
    with Http2Client(port) as client:
        # While the model has the first, the server takes no second: then nothing opens the window.
        client.send(headers(1, request_fields(STREAM_INFER)) + data(1, infer_message(model="gated")))
        more = b"".join(infer_message(rows) for rows in (2, 3))
        for size in (len(more), 16_000, 16_000, 16_000):
            client.send(data(1, more.ljust(size, b"\0")))
        assert _given(client.so_far(), 1) < DEFAULT_WINDOW // 2 + len(more)
        client.assert_answers(3)
        client.send(data(1, bytes(16_000)) * 2)
        reset = client.until(lambda got: got.type == Type.RST_STREAM)[-1]
        assert (reset.stream, reset.number) == (1, Code.FLOW_CONTROL_ERROR)
        client.assert_answers(5)
    gate.touch()


def test_stream_goes_on_when_its_first_request_was_answered(port: int, gate: Path) -> None:
    with Http2Client(port) as client:
        client.send(headers(1, request_fields(STREAM_INFER)) + data(1, infer_message(model="gated")))
        client.send(data(1, infer_message(2)) + data(1, infer_message(3), end=True))
        assert _bytes_of(client.so_far()) == 0
        gate.touch()
        assert [rows_of_streamed(answer) for answer in split_messages(client.reply(1))] == [1, 2, 3]

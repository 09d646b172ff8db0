"""What the gRPC port makes of HTTP/2 frames, good and bad.

The cases are named after the sections of RFC 9113 that they are about ("7541-…": of RFC 7541).
"""

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
    PREFACE,
    STREAM_INFER,
    Code,
    Field,
    Flag,
    Frame,
    Setting,
    Type,
    block,
    continuation,
    data,
    frame,
    goaway,
    headers,
    integer,
    literal,
    padded_data,
    ping,
    priority,
    request_fields,
    rst_stream,
    settings,
    window_update,
)

pytestmark = pytest.mark.core

_MOST = 2**31 - 1
_OPEN = headers(1)  # a call whose message is still to come
# The client has said all, and has no window for the answer.
_HALF_CLOSED = settings([(Setting.INITIAL_WINDOW_SIZE, 0)]) + call(1)
_CLOSED = _OPEN + rst_stream(1)
_HALF = block(request_fields())[:20]
_PADDED_HEADERS = bytes([255]) + block(request_fields())


def _setting(key: int, value: int) -> bytes:
    return settings([(key, value)])


def _without(name: str) -> list[Field]:
    return [field for field in request_fields() if field[0] != name]


CONNECTION_ERRORS = {
    "3.4-first-frame-is-not-settings": (None, PREFACE + ping(), Code.PROTOCOL_ERROR),
    "4.2-data-is-too-large": (_OPEN, frame(0, 1, b"", length=65_537), Code.FRAME_SIZE_ERROR),
    "4.2-headers-are-too-large": (b"", frame(1, 1, b"", 4, length=65_537), Code.FRAME_SIZE_ERROR),
    "4.2-settings-are-too-large": (b"", frame(4, 0, b"", length=65_538), Code.FRAME_SIZE_ERROR),
    "4.3-index-0": (b"", headers(1, b"\x80"), Code.COMPRESSION_ERROR),
    "4.3-block-ends-within-a-field": (b"", headers(1, _HALF), Code.COMPRESSION_ERROR),
    "4.3-priority-within-a-header-block": (
        b"",
        headers(1, _HALF, end_headers=False) + priority(3, 0),
        Code.PROTOCOL_ERROR,
    ),
    "4.3-headers-within-a-header-block": (
        b"",
        headers(1, _HALF, end_headers=False) + headers(3),
        Code.PROTOCOL_ERROR,
    ),
    "4.3-unknown-frame-within-a-header-block": (
        b"",
        headers(1, _HALF, end_headers=False) + frame(0xFA, 0, b"x"),
        Code.PROTOCOL_ERROR,
    ),
    "5.1-data-on-an-idle-stream": (b"", data(1, b"x"), Code.PROTOCOL_ERROR),
    "5.1-rst-stream-on-an-idle-stream": (b"", rst_stream(1), Code.PROTOCOL_ERROR),
    "5.1-window-update-on-an-idle-stream": (b"", window_update(1, 1), Code.PROTOCOL_ERROR),
    "5.1-continuation-on-an-idle-stream": (
        b"",
        continuation(1, block(request_fields())),
        Code.PROTOCOL_ERROR,
    ),
    "5.1.1-even-stream": (b"", headers(2), Code.PROTOCOL_ERROR),
    "6.1-data-on-stream-0": (b"", data(0, b"x"), Code.PROTOCOL_ERROR),
    "6.1-padding-is-longer-than-the-frame": (
        _OPEN,
        frame(0, 1, b"\x05abcd", Flag.PADDED),
        Code.PROTOCOL_ERROR,
    ),
    "6.1-padded-without-a-length": (_OPEN, frame(0, 1, b"", Flag.PADDED), Code.PROTOCOL_ERROR),
    "6.2-headers-on-stream-0": (b"", headers(0), Code.PROTOCOL_ERROR),
    "6.2-padding-is-longer-than-the-frame": (
        b"",
        frame(1, 1, _PADDED_HEADERS, Flag.PADDED | Flag.END_HEADERS),
        Code.PROTOCOL_ERROR,
    ),
    "6.2-no-room-for-the-priority": (
        b"",
        frame(1, 1, b"\0\0\0", Flag.PRIORITY | Flag.END_HEADERS),
        Code.FRAME_SIZE_ERROR,
    ),
    "6.4-rst-stream-on-stream-0": (b"", rst_stream(0), Code.PROTOCOL_ERROR),
    "6.4-rst-stream-of-3-bytes": (_OPEN, frame(3, 1, b"\0\0\0"), Code.FRAME_SIZE_ERROR),
    "6.4-rst-stream-of-5-bytes": (_OPEN, frame(3, 1, bytes(5)), Code.FRAME_SIZE_ERROR),
    "6.5-ack-with-payload": (b"", frame(4, 0, bytes(6), Flag.ACK), Code.FRAME_SIZE_ERROR),
    "6.5-settings-on-a-stream": (_OPEN, settings(stream=1), Code.PROTOCOL_ERROR),
    "6.5-settings-of-3-bytes": (b"", frame(4, 0, bytes(3)), Code.FRAME_SIZE_ERROR),
    "6.5.2-enable-push-2": (b"", _setting(Setting.ENABLE_PUSH, 2), Code.PROTOCOL_ERROR),
    "6.5.2-window-above-most": (
        b"",
        _setting(Setting.INITIAL_WINDOW_SIZE, _MOST + 1),
        Code.FLOW_CONTROL_ERROR,
    ),
    "6.5.2-frame-size-below-least": (b"", _setting(Setting.MAX_FRAME_SIZE, 16_383), Code.PROTOCOL_ERROR),
    "6.5.2-frame-size-above-most": (b"", _setting(Setting.MAX_FRAME_SIZE, 1 << 24), Code.PROTOCOL_ERROR),
    "6.6-push-promise-from-a-client": (
        _OPEN,
        frame(5, 1, b"\0\0\0\2" + block(request_fields()), Flag.END_HEADERS),
        Code.PROTOCOL_ERROR,
    ),
    "6.7-ping-on-a-stream": (_OPEN, ping(stream=1), Code.PROTOCOL_ERROR),
    "6.7-ping-of-7-bytes": (b"", ping(b"1234567"), Code.FRAME_SIZE_ERROR),
    "6.7-ping-of-9-bytes": (b"", ping(b"123456789"), Code.FRAME_SIZE_ERROR),
    "6.8-goaway-on-a-stream": (_OPEN, goaway(stream=1), Code.PROTOCOL_ERROR),
    "6.8-goaway-of-7-bytes": (b"", frame(7, 0, bytes(7)), Code.FRAME_SIZE_ERROR),
    "6.9-window-update-of-0-for-the-connection": (b"", window_update(0, 0), Code.PROTOCOL_ERROR),
    "6.9-window-update-of-3-bytes": (b"", frame(8, 0, bytes(3)), Code.FRAME_SIZE_ERROR),
    "6.9.1-window-overflow-of-the-connection": (b"", window_update(0, _MOST), Code.FLOW_CONTROL_ERROR),
    "6.10-continuation-without-headers": (_OPEN, continuation(1, b""), Code.PROTOCOL_ERROR),
    "6.10-continuation-after-end-headers": (
        b"",
        headers(1, _HALF, end_headers=False)
        + continuation(1, block(request_fields())[20:])
        + continuation(1, b""),
        Code.PROTOCOL_ERROR,
    ),
    "6.10-continuation-on-stream-0": (
        b"",
        headers(1, _HALF, end_headers=False) + continuation(0, block(request_fields())[20:]),
        Code.PROTOCOL_ERROR,
    ),
    "6.10-continuation-of-another-stream": (
        b"",
        headers(1, _HALF, end_headers=False) + continuation(3, block(request_fields())[20:]),
        Code.PROTOCOL_ERROR,
    ),
    # Stream errors by the RFC, which lets a server end the connection for them (5.4.1).
    "5.1-data-on-a-half-closed-stream": (_HALF_CLOSED, data(1, b"x"), Code.STREAM_CLOSED),
    "5.1-headers-on-a-half-closed-stream": (_HALF_CLOSED, headers(1), Code.STREAM_CLOSED),
    "6.3-priority-of-4-bytes": (_OPEN, frame(2, 1, bytes(4)), Code.FRAME_SIZE_ERROR),
    "6.9-window-update-of-0": (_OPEN, window_update(1, 0), Code.PROTOCOL_ERROR),
    "7541-4.2-table-larger-than-agreed": (
        b"",
        headers(1, integer(65_536, 5, 0x20) + block(request_fields())),
        Code.COMPRESSION_ERROR,
    ),
    "7541-5.1-integer-without-end": (b"", headers(1, b"\x7f" + b"\xff" * 20), Code.COMPRESSION_ERROR),
    "7541-5.2-huffman-padding-is-zeros": (
        b"",
        headers(1, b"\x00\x01a\x81\x18" + block(request_fields())),
        Code.COMPRESSION_ERROR,
    ),
    "7541-6.1-index-beyond-the-tables": (b"", headers(1, b"\xff\x20"), Code.COMPRESSION_ERROR),
}


@pytest.mark.parametrize(("before", "bad", "code"), CONNECTION_ERRORS.values(), ids=CONNECTION_ERRORS.keys())
def test_connection_is_ended_with_goaway_when_a_frame_breaks_it(
    port: int, before: bytes | None, bad: bytes, code: Code
) -> None:
    with Http2Client(port, shake_hands=before is not None) as client:
        client.send((before or b"") + bad)
        assert _goodbye(client.until_closed())[1] == code


def _goodbye(found: list[Frame]) -> tuple[int, int, bytes]:
    """Of the last frame, which has to be GOAWAY."""
    assert found, "the server closed without a word"
    assert found[-1].type == Type.GOAWAY, found
    return found[-1].goodbye


def test_connection_is_closed_when_its_preface_is_not_http2s(port: int) -> None:
    with Http2Client(port, shake_hands=False) as client:
        client.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert [got.type for got in client.until_closed()] in ([], [Type.SETTINGS])


def test_connection_is_closed_when_its_preface_breaks_off(port: int) -> None:
    with Http2Client(port, shake_hands=False) as client:
        client.send(PREFACE[:10])
        client.end_input()
        assert [got.type for got in client.until_closed()] in ([], [Type.SETTINGS])


STREAM_ERRORS = {
    "6.9.1-window-overflow": (_OPEN + window_update(1, _MOST), Code.FLOW_CONTROL_ERROR),
    "8.1-second-headers-without-end-stream": (_OPEN + headers(1, [("a", "b")]), Code.PROTOCOL_ERROR),
    "8.1-pseudo-field-in-trailers": (
        _OPEN + headers(1, [(":method", "POST")], end=True),
        Code.PROTOCOL_ERROR,
    ),
    "8.1.1-content-length-is-not-that-of-data": (
        headers(1, [*request_fields(), ("content-length", "1")]) + data(1, b"xy", end=True),
        Code.PROTOCOL_ERROR,
    ),
    "8.2.1-upper-case-name": (headers(1, [*request_fields(), ("X-Upper", "1")]), Code.PROTOCOL_ERROR),
    "8.2.1-control-byte-in-a-name": (headers(1, [*request_fields(), ("a\x01b", "1")]), Code.PROTOCOL_ERROR),
    "8.2.1-line-end-in-a-value": (headers(1, [*request_fields(), ("a", "1\r\nb: 2")]), Code.PROTOCOL_ERROR),
    "8.2.1-nul-in-a-value": (headers(1, [*request_fields(), ("a", "1\x002")]), Code.PROTOCOL_ERROR),
    "8.2.2-connection": (headers(1, [*request_fields(), ("connection", "keep-alive")]), Code.PROTOCOL_ERROR),
    "8.2.2-keep-alive": (headers(1, [*request_fields(), ("keep-alive", "5")]), Code.PROTOCOL_ERROR),
    "8.2.2-proxy-connection": (
        headers(1, [*request_fields(), ("proxy-connection", "x")]),
        Code.PROTOCOL_ERROR,
    ),
    "8.2.2-transfer-encoding": (
        headers(1, [*request_fields(), ("transfer-encoding", "chunked")]),
        Code.PROTOCOL_ERROR,
    ),
    "8.2.2-upgrade": (headers(1, [*request_fields(), ("upgrade", "h2c")]), Code.PROTOCOL_ERROR),
    "8.2.2-te-other-than-trailers": (headers(1, [*_without("te"), ("te", "gzip")]), Code.PROTOCOL_ERROR),
    "8.3-unknown-pseudo-field": (headers(1, [(":unknown", "1"), *request_fields()]), Code.PROTOCOL_ERROR),
    "8.3-pseudo-field-of-answers": (headers(1, [(":status", "200"), *request_fields()]), Code.PROTOCOL_ERROR),
    "8.3-pseudo-field-after-others": (
        headers(1, [*_without(":path"), (":path", "/a/b")]),
        Code.PROTOCOL_ERROR,
    ),
    "8.3.1-empty-path": (headers(1, [(":path", ""), *_without(":path")]), Code.PROTOCOL_ERROR),
    "8.3.1-no-method": (headers(1, _without(":method")), Code.PROTOCOL_ERROR),
    "8.3.1-no-scheme": (headers(1, _without(":scheme")), Code.PROTOCOL_ERROR),
    "8.3.1-no-path": (headers(1, _without(":path")), Code.PROTOCOL_ERROR),
    "8.3.1-two-methods": (headers(1, [(":method", "POST"), *request_fields()]), Code.PROTOCOL_ERROR),
    "8.3.1-two-schemes": (headers(1, [(":scheme", "http"), *request_fields()]), Code.PROTOCOL_ERROR),
    "8.3.1-two-paths": (headers(1, [(":path", "/a/b"), *request_fields()]), Code.PROTOCOL_ERROR),
}


@pytest.mark.parametrize(("bad", "code"), STREAM_ERRORS.values(), ids=STREAM_ERRORS.keys())
def test_stream_alone_is_reset_when_a_frame_breaks_it(port: int, bad: bytes, code: Code) -> None:
    with Http2Client(port) as client:
        client.send(bad)
        reset = client.until(lambda got: got.type == Type.RST_STREAM)[-1]
        assert (reset.stream, reset.number) == (1, code)
        client.assert_answers(3)


IGNORED = {
    "4.1-unknown-frame": frame(0xFA, 0, b"x" * 100),
    "4.1-unknown-frame-of-a-stream": _OPEN + frame(0xFA, 1, b"x", 0xFF),
    "4.1-unknown-flags": frame(6, 0, b"12345678", 0xFE & ~Flag.ACK),
    "4.1-reserved-bit-of-a-stream": frame(8, 1 << 31, b"\0\0\0\1"),
    "5.1-priority-on-an-idle-stream": priority(7, 0),
    "5.1-rst-stream-on-a-closed-stream": _CLOSED + rst_stream(1),
    "5.1-window-update-on-a-closed-stream": _CLOSED + window_update(1, 1),
    "5.1-data-on-a-closed-stream": _CLOSED + data(1, b"x"),
    "5.1-headers-on-a-closed-stream": _CLOSED + headers(1, [("a", "b")], end=True),
    # Connection errors by the RFC; nghttp2 takes this for trailers of a stream that it has forgotten, and
    # where RFC 7540's priorities are declined (RFC 9218, 2.1) it does not look into them at all.
    "5.1.1-decreasing-stream": headers(5) + headers(3),
    "5.3.1-priority-of-its-own-stream": _OPEN + priority(1, 1),
    "6.3-priority-on-stream-0": priority(0, 1),
    "6.4-unknown-error-code": _OPEN + rst_stream(1, 0xDEAD),
    "6.5-settings-without-values": settings(),
    "6.5.2-unknown-setting": _setting(0xFAFA, 0xFFFFFFFF),
    "6.5.2-enable-push-1": _setting(Setting.ENABLE_PUSH, 1),
    "6.5.2-window-of-most": _setting(Setting.INITIAL_WINDOW_SIZE, _MOST),
    "6.5.2-frame-size-of-most": _setting(Setting.MAX_FRAME_SIZE, (1 << 24) - 1),
    "6.5.2-no-header-table": _setting(Setting.HEADER_TABLE_SIZE, 0),
    "6.7-ack-of-no-ping": ping(ack=True),
    "6.9-window-update-up-to-most": window_update(0, _MOST - 65_535),
    "8.1-data-without-bytes": _OPEN + data(1) * 10,
    "8.2.3-cookie-in-crumbs": headers(1, [*request_fields(), ("cookie", "a=b"), ("cookie", "c=d")]),
    "7541-4.2-smaller-table": headers(1, integer(0, 5, 0x20) + block(request_fields())),
}


@pytest.mark.parametrize("odd", IGNORED.values(), ids=IGNORED.keys())
def test_connection_goes_on_when_a_frame_is_odd_but_harmless(port: int, odd: bytes) -> None:
    with Http2Client(port) as client:
        client.send(odd)
        client.assert_answers(9, rows=3)


LATE = {
    "priority": priority(1, 0),
    "rst-stream": rst_stream(1),
    "window-update": window_update(1, 1),
    "data": data(1, b"x"),
    "headers": headers(1, [("a", "b")], end=True),
}


@pytest.mark.parametrize("late", LATE.values(), ids=LATE.keys())
def test_connection_goes_on_when_a_frame_comes_after_the_answer(port: int, late: bytes) -> None:
    with Http2Client(port) as client:
        client.assert_answers(1)
        client.send(late)
        client.assert_answers(3)


def test_settings_and_pings_are_acknowledged_when_they_come(port: int) -> None:
    with Http2Client(port) as client:
        assert client.server_settings[Setting.MAX_CONCURRENT_STREAMS] == 8
        assert client.server_settings[Setting.INITIAL_WINDOW_SIZE] == 65_535
        client.send(settings([(Setting.MAX_FRAME_SIZE, 20_000)]) + ping(b"abcdefgh"))
        found = client.until(lambda got: got.type == Type.PING)
        acks = [got for got in found if got.type == Type.SETTINGS]
        assert [(got.is_ack, got.payload) for got in acks] == [(True, b"")] * 2
        assert (found[-1].is_ack, found[-1].payload) == (True, b"abcdefgh")


def test_call_is_answered_when_its_data_comes_in_any_frames(port: int) -> None:
    payload = infer_message(rows=40)
    whole = headers(1)
    ways = {
        1: whole + b"".join(data(1, bytes([byte])) for byte in payload) + data(1, end=True),
        3: headers(3) + data(3, payload) + data(3, end=True),
        5: headers(5) + padded_data(5, payload[:9], 255) + padded_data(5, payload[9:], 0, end=True),
        7: headers(7) + data(7, payload) + headers(7, [("x-late", "1")], end=True),
    }
    with Http2Client(port) as client:
        for stream, frames in ways.items():
            client.send(frames)
            assert rows_of(client.reply(stream)) == 40


def test_call_is_answered_when_every_byte_is_a_packet_of_its_own(port: int) -> None:
    with Http2Client(port) as client:
        for byte in call(1, rows=2):
            client.send(bytes([byte]))
        assert rows_of(client.reply(1)) == 2


def test_call_is_answered_when_its_fields_are_split_or_padded_or_indexed(port: int) -> None:
    fields = block(request_fields())
    message = data(1, infer_message(), end=True)[9:]
    pieces = [fields[i : i + 30] for i in range(0, len(fields), 30)]
    split = headers(1, pieces[0], end_headers=False)
    split += b"".join(continuation(1, piece, end_headers=False) for piece in pieces[1:-1])
    split += continuation(1, pieces[-1])
    padded = frame(1, 3, b"\x40" + fields + bytes(64), Flag.PADDED | Flag.END_HEADERS)
    with_priority = frame(1, 5, b"\0\0\0\3\x10" + fields, Flag.PRIORITY | Flag.END_HEADERS)
    learnt = headers(7, b"".join(literal(name, value, indexed=True) for name, value in request_fields()))
    # The table has the last first, from 62 on.
    by_index = headers(9, bytes(0x80 | 62 + i for i in reversed(range(len(request_fields())))))
    with Http2Client(port) as client:
        for stream, head in zip(
            (1, 3, 5, 7, 9), (split, padded, with_priority, learnt, by_index), strict=True
        ):
            client.send(head + data(stream, message, end=True))
            assert rows_of(client.reply(stream)) == 1


def test_stream_is_answered_in_order_when_one_frame_has_several_messages(port: int) -> None:
    messages = b"".join(infer_message(rows) for rows in (1, 2, 3))
    with Http2Client(port) as client:
        client.send(headers(1, request_fields(STREAM_INFER)) + data(1, messages, end=True))
        assert [rows_of_streamed(reply) for reply in split_messages(client.reply(1))] == [1, 2, 3]


def test_client_is_told_to_stop_when_it_was_answered_before_it_ended(port: int) -> None:
    with Http2Client(port) as client:
        client.send(headers(1) + data(1, infer_message()))
        assert rows_of(client.reply(1)) == 1
        reset = client.until(lambda got: got.type == Type.RST_STREAM)[-1]
        assert (reset.stream, reset.number) == (1, Code.NO_ERROR)  # 8.1
        client.assert_answers(3)

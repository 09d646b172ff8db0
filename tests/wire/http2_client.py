"""A client of the gRPC port that speaks HTTP/2 frame by frame."""

import socket
from collections.abc import Callable, Iterable
from types import TracebackType

import numpy as np
from tritonclient.grpc import service_pb2

from tests.wire.http2_frames import (
    DEFAULT_WINDOW,
    FRAME_HEAD_BYTES,
    PREFACE,
    Frame,
    Type,
    data,
    headers,
    message,
    padded_data,
    ping,
    settings,
)

_PATIENCE = 60  # seconds: of a loaded two-core machine


def infer_message(rows: int = 1, model: str = "echo") -> bytes:
    """A gRPC message that asks a model of X_TO_Y about 0, 1, 2, …"""
    request = service_pb2.ModelInferRequest(model_name=model)
    request.inputs.add(name="x", datatype="FP32", shape=[rows, 1])
    request.raw_input_contents.append(np.arange(rows, dtype="<f4").tobytes())
    return message(request.SerializeToString())


def call(stream: int, rows: int = 1) -> bytes:
    """A whole infer call."""
    return headers(stream) + data(stream, infer_message(rows), end=True)


def split_messages(reply: bytes) -> list[bytes]:
    """The messages in a reply, none of them compressed."""
    found = []
    while reply:
        assert reply[0] == 0
        size = 5 + int.from_bytes(reply[1:5], "big")
        assert len(reply) >= size, "the reply ends within a message"
        found.append(reply[5:size])
        reply = reply[size:]
    return found


def rows_of(reply: bytes) -> int:
    """How many rows the one message of a reply has."""
    (answer,) = split_messages(reply)
    return _rows(service_pb2.ModelInferResponse.FromString(answer))


def rows_of_streamed(answer: bytes) -> int:
    """The same of one message of ModelStreamInfer."""
    streamed = service_pb2.ModelStreamInferResponse.FromString(answer)
    assert not streamed.error_message
    return _rows(streamed.infer_response)


def _rows(answer: service_pb2.ModelInferResponse) -> int:
    (raw,) = answer.raw_output_contents
    found = np.frombuffer(raw, "<f4")
    np.testing.assert_array_equal(found, np.arange(len(found)))
    return len(found)


class Http2Client:
    """One connection, until the context is left.

    Attributes:
        server_settings: What the server said first; empty where nothing was exchanged.
    """

    def __init__(
        self,
        port: int,
        own_settings: Iterable[tuple[int, int]] = (),
        *,
        shake_hands: bool = True,
        acknowledge: bool = True,
    ) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), _PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._read = bytearray()
        self.server_settings: dict[int, int] = {}
        if shake_hands:
            self.send(PREFACE + settings(own_settings))
            first = self.next()
            assert first is not None
            assert (first.type, first.stream, first.is_ack) == (Type.SETTINGS, 0, False)
            self.server_settings = first.settings
            if acknowledge:
                self.send(settings(ack=True))

    def __enter__(self) -> "Http2Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def send(self, payload: bytes) -> None:
        self._socket.sendall(payload)

    def end_input(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def next(self) -> Frame | None:
        """The next frame; None where the server has closed."""
        if not self._fill(FRAME_HEAD_BYTES):
            return None
        size = FRAME_HEAD_BYTES + int.from_bytes(self._read[:3], "big")
        assert self._fill(size), "the connection ended within a frame"
        taken = bytes(self._read[:size])
        del self._read[:size]
        stream = int.from_bytes(taken[5:9], "big")
        return Frame(taken[3], taken[4], stream, taken[FRAME_HEAD_BYTES:])

    def _fill(self, size: int) -> bool:
        while len(self._read) < size:
            try:
                received = self._socket.recv(1 << 16)
            except ConnectionResetError:
                received = b""
            if not received:
                assert len(self._read) == 0 or size > FRAME_HEAD_BYTES, "the connection ended within a frame"
                return False
            self._read += received
        return True

    def until(self, last: Callable[[Frame], bool]) -> list[Frame]:
        """Frames up to the first that `last` is true of."""
        found: list[Frame] = []
        while not found or not last(found[-1]):
            received = self.next()
            assert received is not None, f"the server closed after {found}"
            found.append(received)
        return found

    def until_closed(self) -> list[Frame]:
        """All that still comes. The connection has to end."""
        return list(iter(self.next, None))

    def so_far(self) -> list[Frame]:
        """What the server has to say without being told more: all frames up to the echo of a ping."""
        self.send(ping(b"so far??"))
        return self.until(lambda got: got.is_ack and got.payload == b"so far??")[:-1]

    def acknowledge_ping(self) -> list[Frame]:
        """Wait for a ping of the server's, and answer it; returns the frames before it."""
        *found, asked = self.until(lambda got: got.type == Type.PING and not got.is_ack)
        self.send(ping(asked.payload, ack=True))
        return found

    def upload(self, stream: int, payload: bytes, step: int = 8000, padding: int | None = None) -> None:
        """Send DATA frames and end the stream, as fast as the server opens its windows.

        They have to be as HTTP/2 has them at first, whole. Other frames that come meanwhile are dropped.
        """
        windows = {0: DEFAULT_WINDOW, stream: DEFAULT_WINDOW}
        for start in range(0, len(payload), step):
            piece = payload[start : start + step]
            cost = len(piece) if padding is None else len(piece) + 1 + padding
            while min(windows.values()) < cost:
                update = self.until(lambda got: got.type == Type.WINDOW_UPDATE)[-1]
                windows[update.stream] += update.number
            self.send(data(stream, piece) if padding is None else padded_data(stream, piece, padding))
            windows = {of: left - cost for of, left in windows.items()}
        self.send(data(stream, end=True))

    def reply(self, stream: int) -> bytes:
        """The messages that a call is answered with; it has to end well."""
        found = self.until(lambda got: got.stream == stream and got.ends_stream)
        own = [got for got in found if got.stream == stream and got.type in (Type.HEADERS, Type.DATA)]
        kinds = [got.type for got in own]
        assert kinds[0] == kinds[-1] == Type.HEADERS, kinds
        assert set(kinds[1:-1]) == {Type.DATA}, "a call that fails is answered with its status alone"
        return b"".join(got.payload for got in own)[len(own[0].payload) : -len(own[-1].payload)]

    def assert_answers(self, stream: int, rows: int = 1) -> None:
        """The connection is as good as new."""
        self.send(call(stream, rows))
        assert rows_of(self.reply(stream)) == rows

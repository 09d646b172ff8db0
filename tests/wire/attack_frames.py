"""Calls of gRPC as frames of HTTP/2 (RFC 9113), in any order that an attacker may think of."""

import socket
import struct

from tritonclient.grpc import service_pb2

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 4, 6, 8, 9
END_STREAM, END_HEADERS = 0x1, 0x4
ACK = 0x1  # of SETTINGS
CANCEL = 8
_CALL = (
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/inference.GRPCInferenceService/ModelInfer"),
    (b":authority", b"falaj"),
    (b"content-type", b"application/grpc"),
    (b"te", b"trailers"),
)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def greeting(window: int = 65535) -> bytes:
    """What a client begins with; `window` are the bytes that it takes of each answer."""
    return PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, window))


def agree(client: socket.socket) -> None:
    """Wait for the server's settings and acknowledge them: its windows hold from then on."""
    head = client.recv(9, socket.MSG_WAITALL)
    assert head[3] == SETTINGS, head
    client.recv(int.from_bytes(head[:3], "big"), socket.MSG_WAITALL)
    client.sendall(frame(SETTINGS, ACK, 0))


def field(name: bytes, value: bytes) -> bytes:
    """A header field in HPACK (RFC 7541, 6.2.2), literal and not indexed; both below 127 bytes."""
    return bytes((0, len(name))) + name + bytes((len(value),)) + value


CALL_FIELDS = b"".join(field(name, value) for name, value in _CALL)


def call_head(stream: int) -> bytes:
    """The beginning of an infer call."""
    return frame(HEADERS, END_HEADERS, stream, CALL_FIELDS)


def infer_message(columns: int = 1) -> bytes:
    """An infer request of so many zeros to the model `wide` with the head that gRPC gives a message."""
    request = service_pb2.ModelInferRequest(model_name="wide", raw_input_contents=[bytes(4 * columns)])
    request.inputs.add(name="x", datatype="FP32", shape=[1, columns])
    message = request.SerializeToString()
    return struct.pack(">BI", 0, len(message)) + message


def data_frames(stream: int, content: bytes, size: int = 16384) -> bytes:
    """Content in frames, the last of which ends the call."""
    pieces = [content[i : i + size] for i in range(0, len(content), size)]
    ends = [0] * (len(pieces) - 1) + [END_STREAM]
    return b"".join(frame(DATA, end, stream, piece) for piece, end in zip(pieces, ends, strict=True))


def rst_stream(stream: int) -> bytes:
    return frame(RST_STREAM, 0, stream, struct.pack(">I", CANCEL))

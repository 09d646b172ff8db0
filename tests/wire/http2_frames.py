"""HTTP/2 frames by hand, so that a test can send what no library would (RFC 9113, RFC 7541)."""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum, IntFlag

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_HEAD_BYTES = 9
DEFAULT_WINDOW = 65_535

INFER = "/inference.GRPCInferenceService/ModelInfer"
STREAM_INFER = "/inference.GRPCInferenceService/ModelStreamInfer"

Field = tuple[str, str]


class Type(IntEnum):
    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Flag(IntFlag):
    NONE = 0
    ACK = 1
    END_STREAM = 1
    END_HEADERS = 4
    PADDED = 8
    PRIORITY = 32


class Code(IntEnum):
    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class Setting(IntEnum):
    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


@dataclass(frozen=True)
class Frame:
    """One frame as it was read."""

    type: int
    flags: int
    stream: int
    payload: bytes

    @property
    def ends_stream(self) -> bool:
        return self.type in (Type.DATA, Type.HEADERS) and bool(self.flags & Flag.END_STREAM)

    @property
    def is_ack(self) -> bool:
        return self.type in (Type.SETTINGS, Type.PING) and bool(self.flags & Flag.ACK)

    @property
    def number(self) -> int:
        """Of RST_STREAM its error code, of WINDOW_UPDATE its increment."""
        return int.from_bytes(self.payload[:4], "big")

    @property
    def settings(self) -> dict[int, int]:
        return dict(struct.iter_unpack(">HI", self.payload))

    @property
    def goodbye(self) -> tuple[int, int, bytes]:
        """Of GOAWAY: the last stream, the error code and the text."""
        last, code = struct.unpack(">II", self.payload[:8])
        return last, code, self.payload[8:]


def frame(
    type_: int, stream: int, payload: bytes = b"", flags: int = 0, *, length: int | None = None
) -> bytes:
    """A frame; `length`: what its head claims, where that is not the payload's."""
    size = len(payload) if length is None else length
    return size.to_bytes(3, "big") + struct.pack(">BBI", type_, flags, stream) + payload


def settings(values: Iterable[tuple[int, int]] = (), *, stream: int = 0, ack: bool = False) -> bytes:
    payload = b"".join(struct.pack(">HI", key, value) for key, value in values)
    return frame(Type.SETTINGS, stream, payload, Flag.ACK if ack else 0)


def ping(payload: bytes = b"12345678", *, stream: int = 0, ack: bool = False) -> bytes:
    return frame(Type.PING, stream, payload, Flag.ACK if ack else 0)


def window_update(stream: int, increment: int) -> bytes:
    return frame(Type.WINDOW_UPDATE, stream, struct.pack(">I", increment))


def rst_stream(stream: int, code: int = Code.CANCEL) -> bytes:
    return frame(Type.RST_STREAM, stream, struct.pack(">I", code))


def goaway(code: int = Code.NO_ERROR, *, stream: int = 0, last: int = 0) -> bytes:
    return frame(Type.GOAWAY, stream, struct.pack(">II", last, code))


def priority(stream: int, depends_on: int) -> bytes:
    return frame(Type.PRIORITY, stream, struct.pack(">IB", depends_on, 15))


def data(stream: int, payload: bytes = b"", *, end: bool = False) -> bytes:
    return frame(Type.DATA, stream, payload, Flag.END_STREAM if end else 0)


def padded_data(stream: int, payload: bytes, padding: int, *, end: bool = False) -> bytes:
    flags = Flag.PADDED | (Flag.END_STREAM if end else Flag.NONE)
    return frame(Type.DATA, stream, bytes([padding]) + payload + bytes(padding), flags)


def integer(value: int, prefix_bits: int, first: int = 0) -> bytes:
    """An integer of RFC 7541, 5.1; `first`: the bits above its prefix."""
    most = (1 << prefix_bits) - 1
    if value < most:
        return bytes([first | value])
    out = bytearray([first | most])
    value -= most
    while value >= 128:
        out.append(value % 128 | 128)
        value //= 128
    out.append(value)
    return bytes(out)


def literal(name: str, value: str, *, indexed: bool = False) -> bytes:
    """One field, neither Huffman-coded nor by index; `indexed`: the peer puts it into its table."""
    texts = (name.encode("latin-1"), value.encode("latin-1"))
    return bytes([0x40 if indexed else 0]) + b"".join(integer(len(text), 7) + text for text in texts)


def block(fields: Iterable[Field]) -> bytes:
    return b"".join(literal(name, value) for name, value in fields)


def request_fields(path: str = INFER) -> list[Field]:
    """What a gRPC client sends at least."""
    pseudo = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost")]
    return [*pseudo, ("te", "trailers"), ("content-type", "application/grpc")]


def headers(
    stream: int,
    fields: Iterable[Field] | bytes | None = None,
    *,
    end: bool = False,
    end_headers: bool = True,
) -> bytes:
    """A HEADERS frame of the fields, or of a block as it is; None: a good request's."""
    if fields is None:
        fields = request_fields()
    flags = (Flag.END_STREAM if end else Flag.NONE) | (Flag.END_HEADERS if end_headers else Flag.NONE)
    return frame(Type.HEADERS, stream, fields if isinstance(fields, bytes) else block(fields), flags)


def continuation(stream: int, payload: bytes, *, end_headers: bool = True) -> bytes:
    return frame(Type.CONTINUATION, stream, payload, Flag.END_HEADERS if end_headers else 0)


def message(payload: bytes) -> bytes:
    """A gRPC message, not compressed."""
    return struct.pack(">BI", 0, len(payload)) + payload

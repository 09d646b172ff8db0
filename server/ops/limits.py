"""What the network front end accepts and how long it waits: the keys of csrc/wire/wire_options.h."""

from typing import Any, ClassVar

import msgspec

from falaj.server.ops.section import Bounds, Section
from falaj.server.ops.tls import Tls

_KIB = 1 << 10
_MIB = 1 << 20
_GIB = 1 << 30
_TIB = 1 << 40
_DAY = 86_400.0
_COUNT = 2**31 - 1
# The largest window that HTTP/2 has.
_WINDOW = 2**31 - 1


class Http(Section, frozen=True):
    """Bounds of one HTTP connection."""

    max_header_bytes: int = 16 * _KIB
    """Bytes of a request line and all header fields. Default: 16 KiB. Raise it for long tokens or cookies."""
    max_body_bytes: int = _GIB
    """Bytes of a body, as sent and after decompression. Default: 1 GiB. Lower it to the largest request that
    your models have; a larger one is refused with 413."""
    max_pipelined_bytes: int = 64 * _KIB
    """Bytes read ahead while an earlier request of the connection is being answered. Default: 64 KiB. Raise
    it for clients that send many small requests without waiting."""
    header_timeout_seconds: float = 10.0
    """Seconds from the first byte of a request to the end of its header. Default: 10."""
    body_timeout_seconds: float = 30.0
    """Seconds between two pieces of a body. Default: 30. Raise it for clients on bad links."""
    min_body_bytes_per_second: int = 240
    """Bytes of a body in a second, over its first `body_timeout_seconds` and from then on; one that comes
    more slowly is given up. Default: 240. Lower it for clients on very slow links."""
    idle_timeout_seconds: float = 120.0
    """Seconds that a connection with nothing under way is kept. Default: 120. Set it above the idle time of
    the load balancer in front, so that it closes first."""
    write_timeout_seconds: float = 30.0
    """Seconds in which a client may take no byte of its answer. Default: 30."""
    tls: Tls | None = None
    """TLS of the HTTP listener in place of the table [tls], as a whole; empty: none. Default: [tls]."""

    BOUNDS: ClassVar[Bounds] = {
        "max_header_bytes": (1 * _KIB, 1 * _MIB),
        "max_body_bytes": (1 * _KIB, 1 * _TIB),
        "max_pipelined_bytes": (4 * _KIB, 64 * _MIB),
        "header_timeout_seconds": (0.1, _DAY),
        "body_timeout_seconds": (0.1, _DAY),
        "min_body_bytes_per_second": (0, 1 * _GIB),
        "idle_timeout_seconds": (0.1, _DAY),
        "write_timeout_seconds": (0.1, _DAY),
    }


class Grpc(Section, frozen=True):
    """Bounds of one gRPC connection."""

    max_message_bytes: int = _GIB
    """Bytes of a message, as sent and after decompression. Default: 1 GiB. Lower it to the largest request
    that your models have; a larger one is refused with RESOURCE_EXHAUSTED."""
    max_concurrent_streams: int = 256
    """Calls under way on one connection. Default: 256. Raise it for proxies that share few connections."""
    max_requests_per_stream: int = 128
    """Requests of one streaming call that are under way; the server reads no further until one is answered.
    Default: 128. Raise it for clients that stream many small requests."""
    max_metadata_bytes: int = 16 * _KIB
    """Bytes of a call's metadata. Default: 16 KiB. Raise it for long tokens."""
    stream_window_bytes: int = 1 * _MIB
    """Bytes that a client may send in one call before the server has taken them. Default: 1 MiB. Raise it for
    large tensors over long distances."""
    connection_window_bytes: int = 16 * _MIB
    """The same for all calls of a connection together. Default: 16 MiB."""
    max_resets_per_second: int = 200
    """Calls that a connection may reset in a second; more, and it is closed. Default: 200. Raise it for
    proxies whose many clients cancel."""
    max_control_frames_per_second: int = 1000
    """SETTINGS, PING, PRIORITY and empty DATA frames of a connection in a second. Default: 1000."""
    min_ping_interval_seconds: float = 10.0
    """Seconds between a client's pings; one that pings more often is sent away. Default: 10. Lower it where
    clients' keepalive is more frequent."""
    keepalive_interval_seconds: float = 7200.0
    """Seconds of silence after which the server pings. Default: 7200. Lower it where a device in between
    forgets silent connections."""
    keepalive_timeout_seconds: float = 20.0
    """Seconds in which that ping must be answered. Default: 20."""
    idle_timeout_seconds: float = 300.0
    """Seconds that a connection without calls is kept. Default: 300."""
    handshake_timeout_seconds: float = 10.0
    """Seconds from a connection's begin to the client's SETTINGS. Default: 10."""
    message_timeout_seconds: float = 30.0
    """Seconds over which the pace of a message that has begun is measured. Default: 30."""
    min_message_bytes_per_second: int = 240
    """Bytes of a message in a second, over each `message_timeout_seconds` in which it is not whole; a call
    whose message comes more slowly is ended. Default: 240. Lower it for clients on very slow links."""
    write_timeout_seconds: float = 30.0
    """Seconds in which a client may take no byte of its answers. Default: 30."""
    tls: Tls | None = None
    """TLS of the gRPC listener in place of the table [tls], as a whole; empty: none. Default: [tls]."""

    BOUNDS: ClassVar[Bounds] = {
        "max_message_bytes": (1 * _KIB, 1 * _TIB),
        "max_concurrent_streams": (1, 100_000),
        "max_requests_per_stream": (1, 100_000),
        "max_metadata_bytes": (1 * _KIB, 1 * _MIB),
        "stream_window_bytes": (64 * _KIB - 1, _WINDOW),
        "connection_window_bytes": (64 * _KIB - 1, _WINDOW),
        "max_resets_per_second": (1, 1_000_000),
        "max_control_frames_per_second": (1, 1_000_000),
        "min_ping_interval_seconds": (0, _DAY),
        "keepalive_interval_seconds": (1, 365 * _DAY),
        "keepalive_timeout_seconds": (0.1, _DAY),
        "idle_timeout_seconds": (0.1, _DAY),
        "handshake_timeout_seconds": (0.1, _DAY),
        "message_timeout_seconds": (0.1, _DAY),
        "min_message_bytes_per_second": (0, 1 * _GIB),
        "write_timeout_seconds": (0.1, _DAY),
    }


class Limits(Section, frozen=True):
    """Bounds of the whole server, and of what one request may be made of."""

    io_threads: int = 0
    """Threads that carry connections. Default: 0, half of the usable cores, 1 to 8. One answers tens of
    thousands of requests a second; raise it where they are busy, since each takes a core from the models."""
    max_connections: int = 20_000
    """Connections of all listeners. Default: 20000. Needs as many file descriptors (`ulimit -n`)."""
    max_connections_per_client: int = 10_000
    """Connections of one address (of IPv6 its /64). Default: 10000. Lower it where clients are strangers."""
    max_requests_in_flight: int = 4096
    """Requests of HTTP and gRPC under way; more are refused at once. Default: 4096. Those to the port of
    administration are not counted."""
    max_requests_per_client: int = 2048
    """Requests of one address under way. Default: 2048. While more than half of max_requests_in_flight are
    taken, each address has an equal share of them, if that is less."""
    max_buffered_bytes: int = 4 * _GIB
    """Bytes of bodies being received and of answers not yet taken, all together. Default: 4 GiB. Lower it to
    what the machine has beside the models."""
    default_timeout_seconds: float = 0.0
    """Deadline of an infer request that names none; 0: none. Default: 0. A model's own default_timeout_ms
    counts too, the shorter one wins."""
    max_tensors: int = 1024
    """Inputs, and requested outputs, of a request. Default: 1024."""
    max_json_depth: int = 64
    """Depth of nested JSON in a request, data included. Default: 64."""
    max_name_bytes: int = 1024
    """Bytes of a tensor's name, of an id, of a parameter's key. Default: 1024."""

    BOUNDS: ClassVar[Bounds] = {
        "io_threads": (0, 256),
        "max_connections": (1, 10_000_000),
        "max_connections_per_client": (1, 10_000_000),
        "max_requests_in_flight": (1, _COUNT),
        "max_requests_per_client": (1, _COUNT),
        "max_buffered_bytes": (1 * _MIB, 1024 * _TIB),
        "default_timeout_seconds": (0, _DAY),
        "max_tensors": (1, 65_536),
        "max_json_depth": (4, 1024),
        "max_name_bytes": (16, 65_536),
    }


# Keys of [limits] that the native side has in a struct of its own, or under another name.
_CODEC = {
    "max_tensors": "codec.max_tensors",
    "max_json_depth": "codec.max_depth",
    "max_name_bytes": "codec.max_name_bytes",
}


def wire_limits(limits: Limits, http: Http, grpc: Grpc) -> dict[str, Any]:
    """Return the limits under the native side's names; durations are seconds as float."""
    options: dict[str, Any] = {}
    for prefix, section in (("", limits), ("http.", http), ("grpc.", grpc)):
        for key, value in msgspec.structs.asdict(section).items():
            if key != "tls":
                name = prefix + key.removesuffix("_seconds")
                options[_CODEC.get(name, name)] = value
    return options

"""A client that writes bytes as they are, whatever the protocol says."""

import json
import select
import socket
import struct

_PATIENCE = 60  # seconds: of a loaded two-core machine
HEAD = b"POST /v2/models/echo/infer HTTP/1.1\r\nHost: falaj\r\n"  # and more fields


def connect(port: int, source: str = "127.0.0.1", receive_buffer: int | None = None) -> socket.socket:
    """A connection to a port of this machine, from an address of it."""
    client = socket.socket()
    if receive_buffer is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    client.settimeout(_PATIENCE)
    client.bind((source, 0))
    client.connect(("127.0.0.1", port))
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def infer_bytes(value: float = 1.0) -> bytes:
    """A whole request to the model `echo`."""
    tensor = {"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [value]}
    return with_length(json.dumps({"inputs": [tensor]}).encode())


def with_length(body: bytes, fields: bytes = b"", model: str = "echo") -> bytes:
    """A request with that body."""
    head = HEAD.replace(b"echo", model.encode())
    return head + fields + b"Content-Length: %d\r\n\r\n" % len(body) + body


def binary_infer(columns: int) -> bytes:
    """A whole request of that many zeros to the model `wide`, whose answer is binary and as long."""
    size = {"binary_data_size": 4 * columns}
    tensor = {"name": "x", "shape": [1, columns], "datatype": "FP32", "parameters": size}
    header = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    fields = b"Inference-Header-Content-Length: %d\r\n" % len(header)
    return with_length(header + bytes(4 * columns), fields, "wide")


def rest_of(client: socket.socket) -> bytes:
    """What the server still sends until it closes, however it does, which has to be before long."""
    told = bytearray()
    try:
        while piece := client.recv(65536):
            told += piece
    except ConnectionError:
        pass
    return bytes(told)


def send_what_goes(client: socket.socket, data: bytes) -> bool:
    """Send until the server closes; whether all was sent."""
    try:
        client.sendall(data)
    except ConnectionError:
        return False
    return True


def status_of(answer: bytes) -> int:
    """The status that the bytes of an answer begin with; 0 where they are none."""
    return int(answer[9:12]) if answer.startswith(b"HTTP/1.1 ") else 0


def is_readable(client: socket.socket, seconds: float) -> bool:
    return bool(select.select([client], [], [], seconds)[0])


def reset(client: socket.socket) -> None:
    """Close so that the server sees a reset in place of an orderly end."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()

"""A V2 server of a few lines whose answers to infer requests a test decides byte by byte."""

import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_METADATA = (
    b'{"name":"m","versions":["1"],"platform":"x","outputs":[],'
    b'"inputs":[{"name":"x","datatype":"FP32","shape":[-1,1]}]}'
)
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
# Writes the answer to the n-th infer request, from 0; False: close the connection.
Answer = Callable[[socket.socket, int], bool]


def good(connection: socket.socket, _number: int) -> bool:
    connection.sendall(GOOD)
    return True


class StallingServer:
    """Each connection on a thread of its own. `requests` counts infer requests, the first of which is the one
    that a benchmark asks before it begins; `bodies` has those of all of them."""

    def __init__(self, answer: Answer, metadata: bytes, stats: bytes) -> None:
        self._answer, self._pages = answer, {b"/v2": b"{}", b"/v2/models/m": metadata}
        self._pages[b"/v2/models/m/stats"] = stats
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.requests = 0
        self.bodies: list[bytes] = []
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        """End, whatever clients do."""
        self.close_listener()
        with self._lock:
            for connection in self._open:
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def close_listener(self) -> None:
        """Take no more connections; those that are there go on."""
        with suppress(OSError):  # it was closed before
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._open.add(connection)
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection, connection.makefile("rb") as stream:
            try:
                while line := stream.readline():
                    headers = http.client.parse_headers(stream)
                    body = stream.read(int(headers.get("Content-Length", 0)))
                    if not self._reply(connection, line, body):
                        break
            except OSError:
                pass  # the client went away, as it does after an error
            with self._lock:
                self._open.discard(connection)

    def _reply(self, connection: socket.socket, line: bytes, asked: bytes) -> bool:
        if not line.startswith(b"POST"):
            body = self._pages.get(line.split()[1], b"")
            status = b"200 OK" if body else b"404 Not Found"
            connection.sendall(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))
            return True
        with self._lock:
            number, self.requests = self.requests, self.requests + 1
            self.bodies.append(asked)
        return self._answer(connection, number)


@contextmanager
def stalling_server(
    answer: Answer, *, metadata: bytes = _METADATA, stats: bytes = b""
) -> Iterator[StallingServer]:
    """Run one. Without `stats` it has no statistics."""
    server = StallingServer(answer, metadata, stats)
    try:
        yield server
    finally:
        server.close()

"""An HTTP server whose answers are given byte by byte, so that they can be wrong in every way."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Writes the answer to the n-th request, from 0; False: close the connection.
Answer = Callable[[socket.socket, int], bool]


def response(body: bytes, status: str = "200 OK") -> bytes:
    """Return a well-formed answer."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


class FaultyServer:
    """Accepts connections one after the other, each on a thread of its own, and counts requests."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.requests = 0
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        """End; the connections are over when their client is."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection, connection.makefile("rb") as stream:
            try:
                while self._read(stream.readline, stream.read):
                    with self._lock:
                        number, self.requests = self.requests, self.requests + 1
                    if not self._answer(connection, number):
                        return
            except OSError:
                return  # the client went away, as it does after an error

    @staticmethod
    def _read(read_line: Callable[[], bytes], read: Callable[[int], bytes]) -> bool:
        length = 0
        while (line := read_line()).strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return bool(line) and len(read(length)) == length


@contextmanager
def faulty_server(answer: Answer) -> Iterator[FaultyServer]:
    """Run one."""
    server = FaultyServer(answer)
    try:
        yield server
    finally:
        server.close()

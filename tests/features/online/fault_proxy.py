"""A TCP proxy before a real server, which does to connections what networks and servers do."""

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

Answer = Callable[
    [bytes], Iterable[bytes]
]  # what to send for what the server says; nothing ends the connection


class FaultProxy:
    """Forwards; what it does to the server's answers can be changed at any time."""

    def __init__(self, port: int, host: str) -> None:
        self._server = ("127.0.0.1", port)
        self._listener = socket.create_server((host, 0))
        self.port: int = self._listener.getsockname()[1]
        self._mu = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._sides: list[socket.socket] = []
        self._answer: Answer = lambda answer: [answer]
        self.connections = 0
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def does(self, answer: Answer) -> None:
        """Do this with what the server says from now on."""
        self._answer = answer

    def forwards(self) -> None:
        """Do nothing to it."""
        self._answer = lambda answer: [answer]

    def cut(self) -> None:
        """End the connections that there are."""
        with self._mu:
            for side in self._sides:
                _end(side)

    def close(self) -> None:
        """End everything; connecting is refused then."""
        _end(self._listener)
        self._accepting.join()
        self.cut()
        for thread in self._threads:
            thread.join()
        for side in (self._listener, *self._sides):
            side.close()

    def _start(self, work: Callable[..., None], *arguments: socket.socket) -> None:
        thread = threading.Thread(target=work, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._server)
            for side in (client, server):
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._mu:
                self._sides += [client, server]
                self.connections += 1
            self._start(self._pump, client, server)
            self._start(self._pump_back, server, client)

    def _pump(self, client: socket.socket, server: socket.socket) -> None:
        for said in _chunks(client):
            if not _send(server, said):
                break
        _end(server)

    def _pump_back(self, server: socket.socket, client: socket.socket) -> None:
        for said in _chunks(server):
            sent = 0
            for piece in self._answer(said):
                sent += 1
                if not _send(client, piece):
                    sent = 0
                    break
            if sent == 0:
                break
        for side in (server, client):
            _end(side)


@contextmanager
def fault_proxy(port: int, host: str = "127.0.0.1") -> Iterator[FaultProxy]:
    """Run one before the server on a port for as long as the context lasts."""
    proxy = FaultProxy(port, host)
    try:
        yield proxy
    finally:
        proxy.close()


def _chunks(side: socket.socket) -> Iterator[bytes]:
    while True:
        try:
            said = side.recv(1 << 16)
        except OSError:
            return
        if not said:
            return
        yield said


def _send(side: socket.socket, said: bytes) -> bool:
    try:
        side.sendall(said)
    except OSError:
        return False
    return True


def _end(side: socket.socket) -> None:
    try:
        side.shutdown(socket.SHUT_RDWR)
    except OSError:
        return

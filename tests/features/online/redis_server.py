"""A redis-server of a test's own."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory


@dataclass(frozen=True)
class RedisServer:
    """One that runs."""

    port: int
    process: subprocess.Popen[str]

    @property
    def url(self) -> str:
        """Where it is, with more time than a busy machine takes."""
        return self.database(0)

    def database(self, number: int) -> str:
        """Return the URL of one of its databases."""
        return f"redis://127.0.0.1:{self.port}/{number}?timeout_ms=20000"

    def ask(self, *arguments: str | bytes) -> bytes:
        """Return the first bytes of what it answers to a command."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as client:
            plain = [each.encode() if isinstance(each, str) else each for each in arguments]
            said = b"".join(b"$%d\r\n%s\r\n" % (len(each), each) for each in plain)
            client.sendall(b"*%d\r\n%s" % (len(plain), said))
            return client.recv(1 << 16)


@contextmanager
def redis_server(
    *options: str, port: int | None = None, port_option: str = "--port"
) -> Iterator[RedisServer]:
    """Run one for as long as the context lasts, in a folder of its own; without a port, on a free one."""
    with TemporaryDirectory() as folder:
        process, port = _started(Path(folder), options, port, port_option)
        try:
            yield RedisServer(port, process)
        finally:
            process.terminate()
            process.wait(timeout=20)
            assert process.stdout is not None
            process.stdout.close()


def _started(
    folder: Path, options: tuple[str, ...], wanted: int | None, port_option: str
) -> tuple[subprocess.Popen[str], int]:
    own = ["redis-server", "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    for _ in range(10):  # somebody may be faster to take the port
        port = wanted or free_port()
        command = [*own, *options, port_option, str(port)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            if "Ready to accept connections" in line:
                return process, port
            said.append(line)
        process.wait()
        process.stdout.close()
        if "in use" not in "".join(said):
            raise RuntimeError("".join(said))
    raise RuntimeError("redis-server: no port is free")


def free_port() -> int:
    """Return a port that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

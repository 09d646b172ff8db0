"""Servers as processes: started, asked where they listen, ended."""

import json
import os
import selectors
import shlex
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
_END_SECONDS = 30.0
_LOOK_AGAIN = 0.1


@dataclass(frozen=True)
class Server:
    """A server that answers. `pid` is None where its CPU cannot be read."""

    name: str
    ports: dict[str, int]
    pid: int | None
    host: str = "127.0.0.1"


@contextmanager
def started(name: str, command: Sequence[str], *, seconds: float = 120.0) -> Iterator[Server]:
    """Start a server whose first line on stdout is `{"event": "ready", "http": port, …}`; end it afterwards.

    Raises RuntimeError, with what it wrote to stderr, where it does not get that far.
    """
    with _process(name, command) as (process, errors):
        line = _first_line(process, seconds)
        try:
            ready = json.loads(line)
            ports = {key: ready[key] for key in ("http", "grpc", "metrics") if ready.get(key)}
        except (ValueError, AttributeError) as error:
            raise _not_ready(name, command, f"its first line is {line!r}", errors) from error
        yield Server(name, ports, process.pid)


@contextmanager
def started_by(name: str, template: str, repository: Path, *, seconds: float = 120.0) -> Iterator[Server]:
    """Start a server by a command in which `{repository}`, `{http_port}` and `{grpc_port}` are filled in.

    The command must be the server itself, not something that starts it: its CPU is read. A server that is
    told its ports is ready when it says so at /v2/health/ready, another one as `started` has it.
    """
    ports = {"http": _free_port(), "grpc": _free_port()}
    filled = template.format(repository=repository, http_port=ports["http"], grpc_port=ports["grpc"])
    if filled == template.format(repository=repository, http_port="", grpc_port=""):
        with started(name, shlex.split(filled), seconds=seconds) as server:
            yield server
        return
    with _process(name, shlex.split(filled)) as (process, errors):
        end = time.monotonic() + seconds
        while not _is_ready(f"http://127.0.0.1:{ports['http']}/v2/health/ready"):
            if process.poll() is not None or time.monotonic() > end:
                raise _not_ready(name, [filled], f"it is not ready after {seconds:g} s", errors)
            time.sleep(_LOOK_AGAIN)
        yield Server(name, ports, process.pid)


def running(url: str, grpc: str | None, pid: int | None) -> Server:
    """Describe a server that runs already. Raises ValueError where the addresses are not usable."""
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname is None:
        raise ValueError(f"--target {url}: expected http://HOST:PORT")
    ports = {"http": parts.port or 80}
    if grpc is not None:
        host, _, port = grpc.rpartition(":")
        if host != parts.hostname or not port.isdecimal():
            raise ValueError(f"--target-grpc {grpc}: expected {parts.hostname}:PORT")
        ports["grpc"] = int(port)
    return Server("server", ports, pid, parts.hostname)


def falaj_command(repository: Path, io_threads: int) -> list[str]:
    """Return how Falaj is started for a measurement: on this machine only, on free ports."""
    command = [sys.executable, "-m", "falaj.server", "serve", "--repository", str(repository)]
    command += ["--host", "127.0.0.1", "--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]
    command += ["--data-dir", str(repository.parent / "data")]
    return [*command, "--io-threads", str(io_threads), "--drain-seconds", "0", "--strict"]


@contextmanager
def _process(name: str, command: Sequence[str]) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    # A file takes whatever it writes; a pipe that nobody reads would stop it.
    with tempfile.TemporaryFile() as errors:
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, env={**os.environ, "PYTHONPATH": path}
        )
        try:
            yield process, errors
        finally:
            if process.poll() is not None:
                said = _written(errors)
                print(f"{name}: ended by itself, exit code {process.returncode}\n{said}", file=sys.stderr)
            process.terminate()
            try:
                process.communicate(timeout=_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                print(f"{name}: did not end within {_END_SECONDS:g} s and was killed", file=sys.stderr)


def _first_line(process: subprocess.Popen[bytes], seconds: float) -> bytes:
    """Read a line, or what there is of it when the time is over."""
    assert process.stdout is not None
    line, end = b"", time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not line.endswith(b"\n") and selector.select(max(0.0, end - time.monotonic())):
            read = os.read(process.stdout.fileno(), 1)  # nothing of the next line
            if not read:
                break
            line += read
    return line


def _not_ready(name: str, command: Sequence[str], why: str, errors: IO[bytes]) -> RuntimeError:
    return RuntimeError(f"{name} did not start, {why}: {' '.join(command)}\n{_written(errors)}")


def _written(errors: IO[bytes]) -> str:
    errors.seek(0)
    return errors.read().decode(errors="replace").strip()


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

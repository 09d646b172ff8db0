"""The demo's server: a process of its own, which stays when the demo is done."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from falaj.training.errors import TrainingError

_READY, _LOG, _PID = "server.ready", "server.log", "server.pid"
_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Served:
    """A server that runs: its process and its ports."""

    pid: int
    http: int
    grpc: int
    metrics: int


def start(folder: Path, flags: Sequence[str]) -> Served:
    """Start `falaj serve` in a folder, and return when it is ready. What it says is in `server.log` there.

    Raises:
        TrainingError: It ended, or was not ready in a minute.
    """
    command = [sys.executable, "-m", "falaj.server", "serve", *flags]
    with (folder / _READY).open("wb") as ready, (folder / _LOG).open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=ready, stderr=log, start_new_session=True
        )
    (folder / _PID).write_text(f"{process.pid}\n")
    end = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < end and process.poll() is None:
        line, whole, _ = (folder / _READY).read_text().partition("\n")
        if whole:
            ports = json.loads(line)
            return Served(process.pid, ports["http"], ports["grpc"], ports["metrics"])
        time.sleep(0.05)
    process.kill()
    process.wait()
    raise TrainingError(f"the server was not ready: {(folder / _LOG).read_text().strip()[-2000:]}")


def stop(folder: Path) -> None:
    """Stop the server that `start` left in a folder, if it runs."""
    try:
        pid = int((folder / _PID).read_text())
    except (OSError, ValueError):
        return
    if _is_ours(pid, folder):
        os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + _PATIENCE_SECONDS
        while _is_ours(pid, folder) and time.monotonic() < end:
            time.sleep(0.05)
    (folder / _PID).unlink()


def _is_ours(pid: int, folder: Path) -> bool:
    """Whether a process is the server of that folder: another may have got its number since."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        at = Path(os.readlink(f"/proc/{pid}/cwd"))
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return b"falaj.server" in command and at == folder.resolve() and state != "Z"

"""`falaj features materialize` as a process, and what it took."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.features.views import END_US
from falaj.features import View
from falaj.features.registry import Registry

_ROOT = Path(__file__).resolve().parents[2]
_UNTIL = "2026-02-01T00:00:00Z"  # END_US
_MIB = 1 << 20


@dataclass(frozen=True)
class Figures:
    """Of one run.

    Attributes:
        rss_mib: The most that was resident; pages of the store that it has mapped count.
        anon_mib: The most of that which is its own memory, by looks at it 50 times a second.
        written_mib: To the disk.
    """

    seconds: float
    cpu: float
    rss_mib: float
    anon_mib: float
    written_mib: float


class Place:
    """A data folder with one view and its store."""

    def __init__(self, folder: Path, view: View) -> None:
        self._data = folder / "data"
        self._data.mkdir(parents=True)
        self.store, self.quarantine = self._data / "online", self._data / "quarantine"
        Registry(self._data / "features.db").apply([view])

    def start(self, memory: str, threads: int) -> "subprocess.Popen[bytes]":
        """Begin to materialise."""
        command = [
            sys.executable,
            "-m",
            "falaj.server",
            "features",
            "materialize",
            "--until",
            _UNTIL,
            "--json",
        ]
        command += ["--data-dir", str(self._data), "--memory", memory, "--threads", str(threads)]
        return subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run(self, memory: str, threads: int) -> tuple[dict[str, Any], Figures]:
        """Materialise; return what the command told, and what it took."""
        begin = time.perf_counter()
        process = self.start(memory, threads)
        assert process.stdout is not None
        assert process.stderr is not None
        looks: list[float] = [0.0]
        watch = threading.Thread(target=_watch, args=(process.pid, looks))
        watch.start()
        said, complaint = process.stdout.read(), process.stderr.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - begin
        watch.join()
        process.stdout.close()
        process.stderr.close()
        if process.returncode != 0:
            raise RuntimeError(complaint.decode())
        (told,) = json.loads(said)
        assert told["until_us"] == END_US
        figures = Figures(
            seconds,
            used.ru_utime + used.ru_stime,
            used.ru_maxrss / 1024,
            max(looks),
            used.ru_oublock * 512 / _MIB,
        )
        return told, figures


def kill(process: "subprocess.Popen[bytes]") -> bool:
    """End one's own child at once; whether it had not ended before."""
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def _watch(pid: int, looks: list[float]) -> None:
    while True:
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        except OSError:
            return
        found = [line for line in lines if line.startswith("RssAnon")]
        if not found:  # it has ended
            return
        looks.append(int(found[0].split()[1]) / 1024)
        time.sleep(0.02)

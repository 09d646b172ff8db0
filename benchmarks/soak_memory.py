"""Resident memory of this process, and what the native code writes to standard error."""

import os
import resource
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType

_PAGE = resource.getpagesize()


def rss_mib() -> float:
    """Return it as of now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE / 2**20


class MemorySampler:
    """Samples it from a thread until the end of the `with` block."""

    def __init__(self, interval: float = 0.25) -> None:
        self._interval = interval
        self._samples: list[tuple[float, float]] = []  # appended to by the thread only
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def since(self, moment: float) -> list[float]:
        """Return the samples taken after `moment` of time.perf_counter, and one of now."""
        return [mib for at, mib in list(self._samples) if at >= moment] + [rss_mib()]

    def __enter__(self) -> "MemorySampler":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            self._samples.append((time.perf_counter(), rss_mib()))


class Divert:
    """Counts the lines written to standard error until the end of the `with` block instead of showing them:
    ONNX Runtime writes one for every run that fails, and the soak has runs fail on purpose."""

    def __init__(self) -> None:
        self.lines = 0

    def say(self, text: str) -> None:
        """Write a line to the real standard error."""
        os.write(self._real, (text + "\n").encode())

    def __enter__(self) -> "Divert":
        self._file = tempfile.TemporaryFile()
        self._real = os.dup(2)
        os.dup2(self._file.fileno(), 2)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.dup2(self._real, 2)
        os.close(self._real)
        self._file.seek(0)
        for line in self._file:
            self.lines += 1
            if b"onnxruntime" not in line:
                os.write(2, line)
        self._file.close()

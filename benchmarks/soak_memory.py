"""Resident memory of this process."""

import resource
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

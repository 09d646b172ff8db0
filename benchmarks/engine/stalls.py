"""How long this machine itself stops: a virtual machine's host takes its cores away without telling it.

`python -m benchmarks.engine.stalls CORE SECONDS` watches one core and prints its gaps, in seconds, as JSON.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

# A thread alone on its core sees pauses of some µs for interrupts; longer ones are somebody else's work.
LEAST = 200e-6  # seconds
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Stalls:
    """What threads that did nothing but read the clock, one on each core, have missed.

    Attributes:
        share: Of the time, in gaps of at least LEAST.
        per_second: Gaps of a core in a second.
        longest: Seconds.
    """

    share: float
    per_second: float
    longest: float

    @classmethod
    def of(cls, gaps: Iterable[float], seconds: float) -> "Stalls":
        """Sum up the gaps of so many seconds of cores."""
        listed = [gap for gap in gaps if gap >= LEAST]
        return cls(sum(listed) / seconds, len(listed) / seconds, max(listed, default=0.0))

    def text(self) -> str:
        """Return it for people."""
        return (
            f"a thread alone on its core missed {self.share:.1%} of the time, in {self.per_second:.0f} gaps "
            f"a second of 0.2 ms or more, the longest of {self.longest * 1e3:.1f} ms"
        )


def measure(seconds: float) -> Stalls:
    """Watch all cores that this process may use at the same time. Nothing else should run meanwhile."""
    cores = sorted(os.sched_getaffinity(0))
    watchers = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.engine.stalls", str(core), str(seconds)],
            stdout=subprocess.PIPE,
            cwd=_ROOT,
        )
        for core in cores
    ]
    gaps = [gap for watcher in watchers for gap in json.loads(watcher.communicate()[0])]
    return Stalls.of(gaps, seconds * len(cores))


def watch(core: int, seconds: float) -> list[float]:
    """Read the clock on one core for so long; return the gaps, in seconds."""
    os.sched_setaffinity(0, {core})
    gaps = []
    last = time.perf_counter()
    end = last + seconds
    while last < end:
        now = time.perf_counter()
        if now - last >= LEAST:
            gaps.append(now - last)
        last = now
    return gaps


if __name__ == "__main__":
    print(json.dumps(watch(int(sys.argv[1]), float(sys.argv[2]))))

"""A machine that stops is noticed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.engine.stalls import Stalls, measure

_ROOT = Path(__file__).resolve().parents[2]


def test_gap_is_found_when_the_watcher_is_stopped() -> None:
    core = min(os.sched_getaffinity(0))
    command = [sys.executable, "-m", "benchmarks.engine.stalls", str(core), "2"]
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as watcher:
        time.sleep(1)
        watcher.send_signal(signal.SIGSTOP)
        time.sleep(0.3)
        watcher.send_signal(signal.SIGCONT)
        told, _ = watcher.communicate()
    assert max(map(float, told.strip("[]\n").split(","))) > 0.25


def test_share_is_of_all_cores_when_summed_up() -> None:
    assert Stalls.of([0.1, 0.1, 0.0001], 4.0) == Stalls(
        share=pytest.approx(0.05), per_second=0.5, longest=0.1
    )
    assert Stalls.of([], 4.0) == Stalls(0.0, 0.0, 0.0)


def test_every_core_is_watched_when_measured() -> None:
    begin = time.monotonic()
    found = measure(0.2)
    assert time.monotonic() - begin >= 0.2
    assert 0 <= found.share < 1
    assert "a second of 0.2 ms or more" in found.text()

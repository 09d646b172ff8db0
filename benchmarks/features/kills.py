"""Runs of materialize that are killed, and what is left of their stores."""

import hashlib
import random
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.features.runs import Place, kill
from falaj.features import View
from tests.features.online.lmdb_state import cursor, difference

_PHASES = ("before the first chunk was in", "between chunks", "after the last was in")


@dataclass
class Killed:
    """What happened.

    Attributes:
        phases: How many kills hit a run that was so far.
        shares: Of the chunks that were in at each kill.
        finished: How many runs came to their end, each behind some kills.
        different: In what a store differs from that of a run that nothing disturbed; None: in nothing.
    """

    phases: Counter[str] = field(default_factory=Counter)
    shares: list[float] = field(default_factory=list)
    finished: int = 0
    different: str | None = None


def kill_runs(
    folder: Path, view: View, kills: int, seed: int, start: Callable[[Place], "subprocess.Popen[bytes]"]
) -> Killed:
    """Kill runs, at moments drawn from all over the length of one, on what the ones before left.

    A run that comes to its end is compared with one that nothing disturbed, and the next begins anew.
    """
    begin = time.perf_counter()
    undisturbed = _finished(Place(folder / "undisturbed", view), start)
    length = time.perf_counter() - begin
    draw, killed = random.Random(seed), Killed()
    moments = [(number + draw.random()) / kills for number in range(kills)]  # each part of a run is hit
    moments = moments[::2] + [0.6 + moment / 2 for moment in moments[1::2]]  # chunks are written late in it
    draw.shuffle(moments)
    place, fresh = _anew(folder, view), True
    while moments and killed.different is None:
        begin = time.perf_counter()
        process = start(place)
        try:
            process.communicate(timeout=moments[-1] * length)
        except subprocess.TimeoutExpired:
            if kill(process):
                moments.pop()
                _count(killed, place, f"{view.name}@{view.version}")
                fresh = False
                continue
        if fresh:  # the machine is faster than it was
            length = min(length, time.perf_counter() - begin)
        _compare(killed, place, undisturbed, process)
        place, fresh = _anew(folder, view), True
    if killed.different is None:
        process = start(place)
        process.communicate()
        _compare(killed, place, undisturbed, process)
    return killed


def _anew(folder: Path, view: View) -> Place:
    shutil.rmtree(folder / "killed", ignore_errors=True)
    return Place(folder / "killed", view)


def _finished(place: Place, start: Callable[[Place], "subprocess.Popen[bytes]"]) -> Place:
    process = start(place)
    _, complaint = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(complaint.decode())
    return place


def _count(killed: Killed, place: Place, view: str) -> None:
    told = cursor(place.store, view)
    share = 0.0
    if told is not None:
        going = told["going"]
        share = 1.0 if going is None else going["done"] / going["chunks"]
    killed.shares.append(share)
    killed.phases[_PHASES[0 if share == 0 else 2 if share == 1 else 1]] += 1


def _compare(killed: Killed, place: Place, undisturbed: Place, process: "subprocess.Popen[bytes]") -> None:
    killed.finished += 1
    if process.returncode != 0:
        killed.different = f"a run ended with {process.returncode}"
        return
    killed.different = difference(place.store, undisturbed.store)
    if killed.different is None and _hashes(place.quarantine) != _hashes(undisturbed.quarantine):
        killed.different = f"{_hashes(place.quarantine)} of bad rows, {_hashes(undisturbed.quarantine)}"


def _hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.parquet"))
    }

"""Two processes push and are killed at any time: what was answered is in the store, and in a training set."""

import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from falaj.features.online.materialize import materialize_views
from tests.features.online.pushed import exported, pushed_view, read_at
from tests.features.online.store_engine import opened

_ROOT = Path(__file__).resolve().parents[3]
_ROUNDS, _MOST = 4, 100_000
_CHILD = """
import os, pathlib, sys, time
from falaj.features import pushed_log
from falaj.features.online.push import push
from tests.features.online.pushed import pushed_view
from tests.features.online.store_engine import opened
pushed_log.SEGMENT_BYTES = 20_000
view, store, key = pushed_view(pathlib.Path(sys.argv[1])), opened(sys.argv[2]), int(sys.argv[3])
while True:
    at = time.time_ns() // 1000
    push(store, view, [{"customer_id": k, "at": at, "value": k, "city": None} for k in (key, key + 1)])
    os.write(1, f"{key} {key + 1}\\n".encode())
    key += 2
"""


def _pushed(folder: Path, url: str, first: int, seconds: float) -> list[int]:
    """Push from a process until it is killed; return whose rows were answered."""
    command = [sys.executable, "-c", _CHILD, str(folder), url, str(first)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=_ROOT) as child:
        assert child.stdout is not None
        said = [child.stdout.readline()]
        threading.Timer(seconds, child.kill).start()
        said += child.stdout
    return [int(key) for line in said for key in line.split()]


def test_what_was_answered_is_there_when_those_who_pushed_were_killed(
    new_store: Callable[[str], str], tmp_path: Path
) -> None:
    view, url = pushed_view(tmp_path / "log"), new_store("online")
    draw = random.Random(5)
    answered: list[int] = []
    for place in range(_ROUNDS):
        lists: list[list[int]] = [[], []]

        def run(i: int, first: int, seconds: float, lists: list[list[int]] = lists) -> None:
            lists[i] = _pushed(tmp_path / "log", url, first, seconds)

        threads = [
            threading.Thread(target=run, args=(i, (2 * place + i) * _MOST, draw.uniform(0.1, 1.0)))
            for i in (0, 1)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(lists)
        answered += [key for keys in lists for key in keys]
    # Each was about to answer one more push, of two rows.
    near = [max(keys) + more for keys in _by_process(answered) for more in (1, 2, 3, 4)]
    keys = answered + near
    materialize_views([view], opened(url), tmp_path)
    made = new_store("made")
    materialize_views([view], opened(made), tmp_path)
    now = time.time_ns() // 1000
    found = read_at(opened(url), view, keys, now)
    assert [each["value"] for each in found[: len(answered)]] == answered
    assert read_at(opened(made), view, keys, now) == found
    got, manifest = exported(view, [(key, now) for key in keys], tmp_path / "out.parquet")
    assert got == found
    assert manifest.views[0].staged is not None
    assert len(answered) <= manifest.views[0].staged.rows <= len(answered) + 4 * _ROUNDS
    for one, other in zip(found[len(answered) :: 2], found[len(answered) + 1 :: 2], strict=True):
        assert one["status"] == other["status"]  # all of a push or none


def _by_process(answered: list[int]) -> list[list[int]]:
    return [[key for key in answered if key // _MOST == of] for of in range(2 * _ROUNDS)]

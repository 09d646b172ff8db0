"""Runs that are killed at any time, not only between chunks, come to what one run does."""

import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from benchmarks.features.views import END_US, profile, spending, write_events, write_profile
from falaj.features import View
from falaj.features.online.store import open_view
from tests.features.online.lmdb_state import difference
from tests.features.online.store_engine import opened

_ROOT = Path(__file__).resolve().parents[3]
_ROWS, _ENTITIES, _KILLS = 20_000, 2_000, 4
_UNTIL = END_US  # in the past, so that all runs write as of then
_VIEWS: dict[str, Callable[[Path], View]] = {
    "columns": profile,
    "events": spending,
    "events without ids": lambda files: spending(files, identified=False),
}
_CHILD = """
import sys, pathlib, duckdb
from falaj.features.online.materialize import materialize
from falaj.features.online.store import open_view
from tests.features.online import test_killed_runs as here
kind, files, store, scratch = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3], pathlib.Path(sys.argv[4])
scratch.mkdir()
view = here._VIEWS[kind](files)
print("begun", flush=True)
with duckdb.connect() as connection:
    online, kept = open_view(here.opened(store), view), scratch.parent / "kept"
    rows = 50 if kind == "columns" else 500  # a tenth of the rows of columns can answer
    materialize(view, online, connection, scratch, kept, until_us=here._UNTIL, chunk_rows=rows)
print("done", flush=True)
"""


class Runs:
    """Processes that materialise one file into one store."""

    def __init__(self, kind: str, files: Path, store: str, folder: Path) -> None:
        folder.mkdir()
        self._kind, self._files, self._store, self._folder = kind, files, store, folder
        self._number = 0

    def run(self, kill_after: float | None = None) -> float | None:
        """Run one; return how long it took from its beginning, None where it was killed before its end."""
        self._number += 1
        scratch = self._folder / f"scratch{self._number}"
        command = [sys.executable, "-c", _CHILD, self._kind, str(self._files), self._store, str(scratch)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=_ROOT) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "begun\n"
            begin = time.monotonic()
            killer = None if kill_after is None else threading.Timer(kill_after, child.kill)
            if killer is not None:
                killer.start()
            said = child.stdout.read()
            ended = said == "done\n"
            took = time.monotonic() - begin
            if killer is not None:
                killer.cancel()
        assert ended or kill_after is not None, (said, child.returncode)
        return took if ended else None


def _state(view: View, store: str) -> list[Any]:
    """All that can be read, and how far the source was, but for how many runs it took."""
    online = open_view(opened(store), view)
    status, columns, nulls = online.read([np.arange(_ENTITIES)], _UNTIL)
    told = json.loads(online.cursor() or b"")
    del told["read"]["runs"]
    shown = [
        [None if null else value for value, null in zip(of.tolist(), nots.tolist(), strict=True)]
        for of, nots in zip(columns, nulls, strict=True)
    ]
    return [online.entities(), status.tolist(), repr(shown), told]


def _kept(folder: Path) -> list[tuple[Any, ...]]:
    if not any(folder.rglob("*.parquet")):
        return []
    return duckdb.execute(f"SELECT * FROM read_parquet('{folder}/**/*.parquet') ORDER BY ALL").fetchall()


@pytest.mark.parametrize("kind", _VIEWS)
def test_state_is_the_same_when_runs_were_killed_at_any_time(
    new_store: Callable[[str], str], tmp_path: Path, kind: str
) -> None:
    files = tmp_path / "history.parquet"
    write = write_profile if kind == "columns" else write_events
    write(files, _ROWS, _ENTITIES)
    if kind == "columns":
        bad = "SELECT * REPLACE (CASE WHEN visits > 8 THEN customer_id END AS customer_id)"
        duckdb.execute(f"COPY ({bad} FROM '{files}') TO '{tmp_path / 'with_bad.parquet'}'")
        files = tmp_path / "with_bad.parquet"
    undisturbed = new_store("undisturbed")
    length = Runs(kind, files, undisturbed, tmp_path / "once").run()
    assert length is not None
    draw, kills, begun = random.Random(7), 0, 0
    while kills < _KILLS:
        assert begun < 10, "runs come to their end before they are killed"
        killed, again = new_store(f"killed{begun}"), tmp_path / f"again{begun}"
        runs, begun = Runs(kind, files, killed, again), begun + 1
        while kills < _KILLS:
            took = runs.run(length * (kills + draw.random()) / _KILLS)  # each part of a run is hit
            if took is not None:  # the machine is faster than it was
                length = min(length, took)
                break
            kills += 1
    runs.run()
    view = _VIEWS[kind](files)
    assert _state(view, killed) == _state(view, undisturbed)
    assert _kept(again / "kept") == _kept(tmp_path / "once" / "kept")
    assert bool(_kept(again / "kept")) == (kind == "columns")
    if killed.startswith("lmdb://"):
        folders = (Path(store.removeprefix("lmdb://")) for store in (killed, undisturbed))
        assert difference(*folders) is None

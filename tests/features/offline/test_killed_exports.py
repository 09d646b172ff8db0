"""An export that was killed goes on where it was, and comes to the same bytes."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pytest

from falaj.features import DataError
from falaj.features.offline.scratch import kept_scratch

_ROOT = Path(__file__).resolve().parents[3]
_MODULE = ("-m", "falaj.server")
# The same, not deaf to Ctrl-C where these tests run in the background of a shell.
_HEARS = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("falaj.server", run_name="__main__", alter_sys=True)
"""
_DEFINITIONS = """
from falaj.features import Column, CsvFiles, Entity, ParquetFiles, View

customer = Entity("customer", {{"customer_id": "INT64"}})
orders = View(
    name="orders", version=1, entity=customer, source=ParquetFiles("{folder}/orders.parquet"),
    columns=(Column("amount", "FP64"),), event_time="event", known_time="known",
)
cities = View(
    name="cities", version=1, entity=customer, source=CsvFiles("{folder}/cities.csv"),
    columns=(Column("city", "BYTES"),), event_time="event", known_time=None,
)
"""


class Export:
    """One export, by the real command, of two views in several steps each."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.out = folder, folder / "made" / "set.parquet"
        self.out.parent.mkdir()
        self.orders = folder / "orders.parquet"
        orders = "(hash(i) % 5000)::BIGINT AS customer_id, (hash(i * 3) % 900)::BIGINT AS event"
        orders += ", (hash(i * 7) % 900)::BIGINT AS known, (i % 1000)::DOUBLE AS amount"
        cities = "i % 6000 AS customer_id, '1970-01-01T00:00:00.000' || (100 + i % 800) || 'Z' AS event"
        cities += ", 'city ' || i AS city"
        asked = "(hash(i * 11) % 6000)::BIGINT AS customer_id, (i % 1000)::BIGINT AS spine_ts"
        with duckdb.connect() as connection:
            for select, rows, name in (
                (orders, 800_000, "orders.parquet"),
                (cities, 50_000, "cities.csv"),
                (asked, 50_000, "spine.parquet"),
            ):
                connection.execute(f"COPY (SELECT {select} FROM range({rows}) AS t(i)) TO '{folder / name}'")
        (folder / "definitions").mkdir()
        (folder / "definitions" / "views.py").write_text(_DEFINITIONS.format(folder=folder))
        self._start("apply", str(folder / "definitions")).wait()

    def start(self, *python: str) -> "subprocess.Popen[bytes]":
        asked = ["--spine", str(self.folder / "spine.parquet"), "--views", "orders,cities"]
        asked += ["--memory", "80MB", "--threads", "2", "--out", str(self.out)]
        return self._start("export", *asked, python=python or _MODULE)

    def made(self) -> bytes:
        with self.start() as run:
            assert run.wait() == 0
        assert sorted(path.name for path in self.out.parent.iterdir()) == [
            "set.parquet",
            "set.parquet.manifest.json",
        ]
        return self.out.read_bytes()

    def ended_with(self, name: str, by: signal.Signals = signal.SIGKILL, *python: str) -> Path:
        """Start it, send it a signal when it has finished the file of this name; return that."""
        for _ in range(10):  # on a busy machine it may come to its end before it is killed
            with self.start(*python) as run:
                while run.poll() is None:
                    found = list(self.out.parent.glob(f".falaj-export-*/{name}"))
                    if found:
                        run.send_signal(by)
                        break
                    time.sleep(0.002)
            if run.returncode != 0 and found[0].exists():
                return found[0]
        raise AssertionError(f"{name} was never there when the run was killed")

    def _start(self, *arguments: str, python: Sequence[str] = _MODULE) -> "subprocess.Popen[bytes]":
        command = [sys.executable, *python, "features", *arguments]
        command += ["--data-dir", str(self.folder / "data")]
        return subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.DEVNULL)


@pytest.fixture
def export(tmp_path: Path) -> Export:
    return Export(tmp_path)


def test_bytes_are_the_same_when_runs_were_killed(export: Export) -> None:
    """kill -9 at moments that are spread over a run, until one comes to its end."""
    begin = time.monotonic()
    expected = export.made()
    seconds = time.monotonic() - begin
    manifest = export.out.with_name("set.parquet.manifest.json").read_bytes()
    export.out.unlink()
    draw = random.Random(3)
    for number in range(6):
        with export.start() as run:
            try:
                run.wait(timeout=seconds * (number + draw.random()) / 6)
            except subprocess.TimeoutExpired:
                run.kill()
    assert export.made() == expected
    assert export.out.with_name("set.parquet.manifest.json").read_bytes() == manifest


def _spoil(part: Path) -> None:
    """Change what a killed run had finished, so that it shows whether it is taken."""
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE t AS SELECT * REPLACE (amount + 5000 AS amount) FROM '{part}'")
        connection.execute(f"COPY t TO '{part}' (FORMAT parquet)")


def _least(out: Path) -> float:
    with duckdb.connect() as connection:
        return float(connection.execute(f"SELECT min(orders__amount) FROM '{out}'").fetchall()[0][0])


def test_what_was_finished_is_taken_unless_a_file_has_changed(export: Export) -> None:
    _spoil(export.ended_with("view-0.parquet"))
    export.made()
    assert _least(export.out) >= 5000
    _spoil(export.ended_with("view-0.parquet"))
    stat = export.orders.stat()
    os.utime(export.orders, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    export.made()
    assert _least(export.out) < 1000


def test_parts_are_taken_when_a_run_was_killed_between_them(export: Export) -> None:
    expected = export.made()
    first = export.ended_with("view-0.parquet.answers-0-of-2")
    assert not (first.parent / "view-0.parquet").exists()
    export.out.unlink()
    assert export.made() == expected


def test_what_was_finished_is_taken_when_a_run_was_interrupted(export: Export) -> None:
    _spoil(export.ended_with("view-0.parquet", signal.SIGINT, "-c", _HEARS))
    export.made()
    assert _least(export.out) >= 5000


def test_scratch_is_refused_when_another_run_has_it(tmp_path: Path) -> None:
    out = tmp_path / "set.parquet"
    with kept_scratch(out, "asked") as scratch:
        with pytest.raises(DataError, match=r"set\.parquet: is being made by another run"):
            kept_scratch(out, "asked").__enter__()
        with kept_scratch(out, "something else"):
            assert scratch.folder.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_scratch_is_removed_when_its_run_was_killed_and_something_else_is_asked(tmp_path: Path) -> None:
    out = tmp_path / "set.parquet"
    with pytest.raises(KeyboardInterrupt), kept_scratch(out, "asked"):
        raise KeyboardInterrupt
    (left,) = tmp_path.iterdir()
    with kept_scratch(tmp_path / "other.parquet", "something else"):
        assert left.is_dir()
    with kept_scratch(out, "something else") as scratch:
        assert list(tmp_path.iterdir()) == [scratch.folder]


def _finish_one_of_two(out: Path) -> None:
    with kept_scratch(out, "asked") as scratch:
        with scratch.making("whole") as path:
            path.write_bytes(b"whole")
        with scratch.making("half") as path:
            path.write_bytes(b"half")
            raise KeyboardInterrupt


def test_what_was_not_finished_is_removed_and_what_was_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "set.parquet"
    with pytest.raises(KeyboardInterrupt):
        _finish_one_of_two(out)
    with kept_scratch(out, "asked") as scratch:
        assert scratch.has("whole")
        assert sorted(path.name for path in scratch.folder.iterdir()) == ["lock", "whole"]
    with pytest.raises(DataError, match="wrong"), kept_scratch(out, "asked"):
        raise DataError("wrong")
    assert list(tmp_path.iterdir()) == []

"""The benchmark of materialize runs the real command, kills it, and compares what is left."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _run(*arguments: str) -> str:
    command = [sys.executable, "benchmarks/features/materialize.py", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_report_is_written_when_run_on_little_data() -> None:
    said = _run("--rows", "30000", "--entities", "500", "--rounds", "1")
    rows = [line.split("  ")[1].strip() for line in said.splitlines() if line.startswith("   ")]
    ways = ["falaj features materialize", "DuckDB reads, newest row of each", "lmdb puts, in order"]
    assert rows[2:5] == ways, said
    assert said.count(" met") == 1


@pytest.mark.parametrize("view", [(), ("--windows",), ("--windows", "none")])
def test_stores_are_compared_when_runs_were_killed(view: tuple[str, ...]) -> None:
    said = _run("--kills", "3", "--kill-rows", "30000", *view)
    assert "the bad rows' files: identical" in said
    assert said.count(" met") == 1

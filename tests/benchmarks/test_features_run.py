"""The benchmark of the point-in-time export runs, each way in a process of its own."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_report_is_written_when_run_on_little_data() -> None:
    command = [sys.executable, "benchmarks/features/run.py", "--rounds", "1"]
    command += ["--history", "3000", "--spine", "300", "--entities", "50", "--memory", "500MB"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split("  ")[1].strip() for line in done.stdout.splitlines() if line.startswith("   ")]
    assert rows[2:5] == ["falaj export", "DuckDB ASOF", "Polars join_asof"], done.stdout
    assert done.stdout.count(" met") == 2


def test_large_history_is_exported_within_its_memory() -> None:
    command = [sys.executable, "benchmarks/features/run.py", "--large", "30000"]
    command += ["--spine", "300", "--entities", "50"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "30,000 rows of history x 300 of the spine, --memory 2GB" in done.stdout
    assert done.stdout.count(" met") == 1

"""The benchmark of shared memory runs, and finds the answers where they belong."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_report_is_written_when_run_quickly(programs: Path, tmp_path: Path) -> None:
    written = tmp_path / "shared.json"
    command = [sys.executable, "benchmarks/wire/shared.py", "--seconds", "0.1", "--rounds", "1"]
    command += ["--json", str(written), "--programs", str(programs)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    cases = json.loads(written.read_text())["rounds"]
    assert list(cases) == [f"{size} MiB, {at}" for size in (1, 16) for at in (1, 4)]
    for (ways,) in cases.values():
        assert list(ways) == [
            "HTTP, binary body", "HTTP, shared memory", "gRPC, raw contents", "gRPC, shared memory",
        ]  # fmt: skip
        for figures in ways.values():
            assert figures["errors"] == 0
            assert figures["server_cpu_us"] > 0

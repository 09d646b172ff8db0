"""The benchmark of tuning runs, on a net that is trained for a moment."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_table_has_the_search_when_run_for_a_moment(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "benchmarks/tune/run.py", "--nets", "mlp", "--epochs", "2"]
    command += ["--seconds", "2", "--choices", "variants", "--slo-ms", "2000", "--variants", "fp16"]
    command += ["--json", str(tmp_path / "out.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (section,) = json.loads((tmp_path / "out.json").read_text())
    found = section["rounds"]["variants"]
    assert found["tried"]
    assert found["with_variants_s"] >= 2
    assert "target mlp, variants, lower end of the gain >= 1" in done.stdout

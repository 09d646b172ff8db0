"""The benchmark of variants runs, on a net that is trained for a moment."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_table_has_every_variant_when_run_for_a_moment(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "benchmarks/training/optimize.py", "--nets", "mlp"]
    command += ["--epochs", "2", "--rounds", "6", "--json", str(tmp_path / "out.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (section,) = json.loads((tmp_path / "out.json").read_text())
    variants = section["rounds"]["mlp"]["variants"]
    assert {"fp16", "int8-dynamic", "int8-static"} < {of["name"] for of in variants}
    assert all(len(of["speeds"]) == 4 and of["quality"]["loss"]["metric"] == "accuracy" for of in variants)
    assert "target mlp at 32 rows >= 1" in done.stdout

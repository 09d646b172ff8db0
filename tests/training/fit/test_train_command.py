import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.training.fit.customers import write_customers

FALAJ = str(Path(sys.executable).parent / "falaj")
SPEC = """
[data]
path = "rows.parquet"
target = "left"
time = "when"
exclude = ["who", "spent", "level"]
[model]
rounds = 20
[metrics]
resamples = 20
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train")
    write_customers(folder / "rows.parquet")
    (folder / "churn.toml").write_text(SPEC, encoding="utf-8")
    return folder


def falaj(folder: Path, arguments: Sequence[str], code: int = 0) -> str:
    done = subprocess.run([FALAJ, "train", *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done.stdout if code in (0, 1) and done.stdout else done.stderr


def test_command_fits_tells_and_checks_when_run(folder: Path) -> None:
    said = falaj(folder, ["churn.toml"])
    assert said.startswith("runs/churn-1: lightgbm, binary, ")
    assert "rows: train 560, validation 120, test 120, by time" in said
    assert "auc" in said
    told = json.loads(falaj(folder, ["churn.toml", "--json", "--seed", "5"]))
    assert told["run"] == "runs/churn-2"
    assert (
        told["metrics"]["test"]["metrics"]["auc"]["low"] < told["metrics"]["test"]["metrics"]["auc"]["value"]
    )
    assert (
        falaj(folder, ["--check", "runs/churn-1"]) == "runs/churn-1: the same 240 predictions, to the bit\n"
    )


def test_check_fails_when_the_model_is_another(folder: Path) -> None:
    falaj(folder, ["churn.toml", "--out", "runs/other"])
    path = folder / "runs/other/run.json"
    told = json.loads(path.read_text())
    told["params"]["num_leaves"] = 3
    path.write_text(json.dumps(told))
    assert "of 240 predictions differ, by up to" in falaj(folder, ["--check", "runs/other"], 1)


def test_command_says_what_is_wrong_when_it_is_refused(folder: Path) -> None:
    assert "is there already" in falaj(folder, ["churn.toml", "--out", "runs"], 2)
    assert "expected SPEC, or --check and a run" in falaj(folder, [], 2)
    assert "gone.toml: cannot be read" in falaj(folder, ["gone.toml"], 2)
    assert "not a run of `falaj train`" in falaj(folder, ["--check", "runs"], 2)

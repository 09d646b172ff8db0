"""On a Ray cluster of two nodes: the same study, and a shared fit that comes to one process's model."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from falaj.training.fit.run_folder import read_run
from tests.training.fit.ray_nodes import two_nodes
from tests.training.fit.study_cases import ENVIRONMENT, FALAJ, outcome, write_case

NETWORK = """
threads = 1
[data]
path = "rows.parquet"
target = "left"
time = "when"
exclude = ["who", "spent", "level"]
[model]
kind = "mlp"
rounds = 8
[model.params]
batch_size = 50
[metrics]
resamples = 20
"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    before = {each.pid for each in psutil.Process().children(recursive=True)}
    with two_nodes() as address:
        begun = [each for each in psutil.Process().children(recursive=True) if each.pid not in before]
        assert len(begun) > 2
        yield address
    _, alive = psutil.wait_procs(begun, timeout=30)
    assert not alive


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ray")
    write_case(folder)
    (folder / "network.toml").write_text(NETWORK, encoding="utf-8")
    return folder


def train(case: Path, *arguments: str, address: str | None = None) -> str:
    environment = dict(ENVIRONMENT if address is None else {**ENVIRONMENT, "RAY_ADDRESS": address})
    done = subprocess.run(
        [FALAJ, "train", *arguments], cwd=case, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_study_comes_to_the_same_when_it_runs_on_two_nodes(case: Path, address: str) -> None:
    train(case, "study.toml", "--tune", "7", "--out", "runs/alone")
    train(
        case,
        "study.toml",
        "--tune",
        "7",
        "--out",
        "runs/ray",
        "--scale",
        "ray",
        "--jobs",
        "3",
        address=address,
    )
    assert outcome(case / "runs/ray") == outcome(case / "runs/alone")


def test_model_is_that_of_one_process_when_workers_share_each_batch(case: Path, address: str) -> None:
    train(case, "network.toml", "--out", "runs/one")
    told = train(
        case, "network.toml", "--out", "runs/two", "--scale", "ray", "--jobs", "2", "--json", address=address
    )
    one, two = read_run(case / "runs/one"), read_run(case / "runs/two")
    assert one.rounds == two.rounds == json.loads(told)["rounds"]
    assert (two.circumstances.workers, two.circumstances.nodes) == (2, 2)
    assert any("2 workers" in told for told in two.circumstances.not_repeatable)
    assert np.abs(one.predictions["score"] - two.predictions["score"]).max() < 1e-5
    assert (one.metrics["test"].all.metrics["auc"].value or 0) > 0.7


def test_command_says_so_when_a_kind_is_not_shared_or_no_cluster_answers(case: Path, address: str) -> None:
    done = subprocess.run(
        [FALAJ, "train", "study.toml", "--tune", "0", "--out", "runs/no", "--scale", "ray", "--jobs", "2"],
        cwd=case,
        env={**os.environ, "RAY_ADDRESS": address},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 2
    assert "'lightgbm' is not fitted by several workers" in done.stderr
    assert not (case / "runs/no").exists()

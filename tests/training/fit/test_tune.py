"""Studies come to the same: killed at any moment, run by several processes, or undisturbed."""

import random
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from falaj.training.errors import TrainingError
from falaj.training.fit.run import Run, fit
from falaj.training.fit.run_folder import read_run
from falaj.training.fit.search_space import space_of
from falaj.training.fit.spec import DataSpec, ModelSpec, TrainSpec, TuningSpec, read_spec
from tests.training.fit.study_cases import ENVIRONMENT, FALAJ, outcome, write_case

KILLS = {1: 3, 2: 2}


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    write_case(folder)
    return folder


def command(case: Path, out: str, jobs: int) -> "subprocess.Popen[bytes]":
    arguments = ["train", "study.toml", "--out", out, "--jobs", str(jobs)]
    return subprocess.Popen([FALAJ, *arguments], cwd=case, env=ENVIRONMENT, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def undisturbed(case: Path) -> Path:
    process = command(case, "runs/undisturbed", 1)
    assert process.wait() == 0
    return case / "runs/undisturbed"


def finished_trials(path: Path) -> int:
    if not path.exists():
        return 0
    # To be written, too: a killed writer leaves a journal, which whoever comes next takes back.
    with closing(sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=30)) as database:
        return int(database.execute("SELECT count(*) FROM trials").fetchone()[0])


def test_study_prunes_and_finds_better_parameters_when_run(undisturbed: Path) -> None:
    trials, _ = outcome(undisturbed)
    states = [state for _, state, *_ in trials]
    assert len(states) == 10
    assert "PRUNED" in states
    run = read_run(undisturbed)
    assert run.tuned is not None
    complete = {number: value for number, state, value, *_ in trials if state == "COMPLETE"}
    assert run.tuned.value == min(complete.values())
    assert run.params == trials[run.tuned.best][5]["params"]
    assert run.metrics["validation"].all.metrics["log_loss"].value == pytest.approx(run.tuned.value)


@pytest.mark.parametrize("jobs", [1, 2])
def test_study_comes_to_the_same_when_it_is_killed_at_random(
    case: Path, undisturbed: Path, jobs: int
) -> None:
    name = f"runs/killed-{jobs}"
    study = case / f"runs/.killed-{jobs}.partial/study.db"
    chance = random.Random(jobs)
    seen = set()
    for _ in range(KILLS[jobs]):
        process = command(case, name, jobs)
        begin, later = finished_trials(study), chance.uniform(0.0, 0.5)
        while process.poll() is None and finished_trials(study) == begin:
            time.sleep(0.01)
        time.sleep(later)
        children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.send_signal(signal.SIGKILL)
        process.wait()
        # They see by themselves that nobody takes their results.
        _, alive = psutil.wait_procs(children, timeout=30)
        assert not alive
        seen.add(finished_trials(study))
    assert not (case / name).exists() or len(seen) > 1
    if not (case / name).exists():
        assert command(case, name, jobs).wait() == 0
    assert outcome(case / name) == outcome(undisturbed)
    assert not study.exists()


def tuned(case: Path, out: str, monkeypatch: pytest.MonkeyPatch, **tuning: Any) -> Run:
    monkeypatch.chdir(case)
    spec = read_spec(Path("study.toml"))
    return fit(replace(spec, tuning=replace(spec.tuning, **tuning)), out=Path(out))


def test_study_is_longer_when_more_trials_are_asked_for(
    case: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tuned(case, "runs/short", monkeypatch, trials=4)
    assert run.tuned is not None
    assert outcome(case / "runs/short")[0] == outcome(undisturbed)[0][:4]


def test_study_is_refused_when_the_file_is_of_another(case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrainingError, match=r"none of 2 trials is complete: model\.kind 'lightgbm'"):
        tuned(case, "runs/other", monkeypatch, trials=2, space={"num_leaves": {"choices": [-1]}})
    with pytest.raises(TrainingError, match=r"is a study of something else: .*num_leaves"):
        tuned(case, "runs/other", monkeypatch, trials=2)


def test_lists_are_tried_when_they_are_choices(case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(case)
    spec = read_spec(Path("study.toml"))
    layers = TuningSpec(trials=3, wave=1, space={"hidden": {"choices": [[4], [8, 4]]}})
    run = fit(replace(spec, model=ModelSpec("mlp", rounds=3), tuning=layers), out=Path("runs/layers"))
    assert run.params["hidden"] in ([4], [8, 4])
    assert read_run(Path("runs/layers")).params == run.params


def test_metric_is_maximised_when_higher_is_better(case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tuned(case, "runs/auc", monkeypatch, trials=6, metric="auc")
    trials, _ = outcome(case / "runs/auc")
    assert run.tuned is not None
    assert run.tuned.value == max(value for _, state, value, *_ in trials if state == "COMPLETE")
    assert run.metrics["validation"].all.metrics["auc"].value == pytest.approx(run.tuned.value)


def test_second_process_is_refused_when_one_makes_the_run(case: Path) -> None:
    process = command(case, "runs/busy", 1)
    try:
        while not (case / "runs/.busy.partial/study.db").exists():
            assert process.poll() is None
            time.sleep(0.01)
        other = subprocess.run(
            [FALAJ, "train", "study.toml", "--out", "runs/busy"], cwd=case, capture_output=True, text=True
        )
        assert other.returncode == 2
        assert "another process makes it now" in other.stderr
    finally:
        process.kill()
        process.wait()


SPACE = """
from falaj.training.fit.spec import DataSpec, ModelSpec, TrainSpec, TuningSpec
from sklearn.linear_model import LogisticRegression
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline

def build(params):
    return make_pipeline(SimpleImputer(), LogisticRegression(C=params["c"] * 2))

def space(trial):
    return {"c": 10 ** trial.suggest_float("exponent", -3, 2)}

spec = TrainSpec(
    DataSpec("rows.parquet", "left", features=("age", "income")),
    model=ModelSpec("pipeline"), tuning=TuningSpec(trials=4, wave=2), build=build, space=space,
)
"""


def test_functions_are_tuned_in_several_processes_when_the_specification_is_python(
    case: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(case)
    (case / "searched.py").write_text(SPACE, encoding="utf-8")
    spec = read_spec(Path("searched.py"))
    for jobs in (1, 2):
        fit(spec, out=Path(f"runs/searched-{jobs}"), jobs=jobs)
    assert outcome(case / "runs/searched-1") == outcome(case / "runs/searched-2")
    assert set(read_run(case / "runs/searched-1").params) == {"c"}


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"x": {"low": 2, "high": 1}}, "space.x: expected low up to high"),
        ({"x": {"low": 0, "high": 1, "log": True}}, "above 0 with log"),
        ({"x": {"low": "a", "high": 1}}, "expected numbers low and high"),
        ({"x": {"choices": []}}, "expected choices alone, one or more"),
        ({"x": {"lo": 1}}, "unknown key 'lo'"),
    ],
)
def test_space_is_refused_when_a_range_is_none(space: dict[str, Any], message: str) -> None:
    spec = TrainSpec(DataSpec("x", "y"), model=ModelSpec(), tuning=TuningSpec(trials=1, space=space))
    with pytest.raises(TrainingError, match=message):
        space_of(spec)

"""What is left to Falaj is chosen by running the model, and what is configured is kept."""

import re
from pathlib import Path

import pytest

from falaj import Engine
from tests.zoo import ZooModel, conv_net, mlp, save

_RATES = r"rows of a batch: 1: [\d,]+/s, 2: [\d,]+/s, "


def _chosen(folder: Path, model: ZooModel, toml: str = "") -> tuple[int, int, int, str]:
    save(model, folder)
    (folder / model.name / "model.toml").write_text(toml)
    with Engine(folder) as engine:
        told = engine.describe(model.name)
        return told["instances"], told["threads"], told["max_batch_size"], told["chosen_because"]


@pytest.mark.parametrize("toml", ["", "tune_ms = 50"])
def test_run_is_not_shared_between_threads_when_it_is_short(tmp_path: Path, toml: str) -> None:
    for _ in range(5):  # other work on the machine may take the cores for all of a trial
        instances, threads, rows, why = _chosen(tmp_path, mlp(), toml)
        tried = rf"instances x threads at 8 rows: {instances} x 1: [\d,]+ rows/s, \d+ µs a run; "
        if re.match(tried + _RATES, why):
            break
    else:
        pytest.fail(why)
    assert threads == 1
    assert rows >= 8


def test_every_share_of_the_cores_is_tried_when_a_run_is_long(tmp_path: Path) -> None:
    _, threads, _, why = _chosen(tmp_path, conv_net())
    tried = re.match(r"instances x threads at 8 rows: (.*); " + _RATES, why)
    assert tried is not None, why
    pairs = [tuple(map(int, pair)) for pair in re.findall(r"(\d+) x (\d+): [\d,]+ rows/s", tried[1])]
    assert len(pairs) == len(set(pairs))
    assert pairs[0][1] == 1
    assert threads in [of for _, of in pairs]


def test_choice_is_the_configuration_s_when_it_has_one(tmp_path: Path) -> None:
    toml = "instances = 3\nthreads = 2\nmax_batch_size = 5\n"
    assert _chosen(tmp_path, mlp(), toml)[:3] == (3, 2, 5)


def test_nothing_is_tried_when_trials_are_off(tmp_path: Path) -> None:
    _, threads, rows, why = _chosen(tmp_path, mlp(), "tune_ms = 0")
    assert (threads, rows, why) == (1, 32, "defaults: trials are off (tune_ms = 0)")

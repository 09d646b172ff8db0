"""Which models `falaj tune` takes, and what it says of those that it does not."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import falaj
from falaj.server.errors import ConfigError
from falaj.server.tuning.setting import DEFAULTS, Setting
from falaj.server.tuning.subject import subject_at
from falaj.server.tuning.trial_server import Asking, Resolved, TrialServer
from falaj.server.tuning.variants import Sources, prepared
from falaj.server.tuning.written import toml_of
from tests.engine.pipeline_models import CHAIN, add_models, add_pipeline
from tests.engine.sequence_models import add_sum
from tests.server.joined_model import account, add_joined
from tests.serving import add_python
from tests.streaming import COUNTING, DECOUPLED

_ENSEMBLE = """
platform: "ensemble"
input [ { name: "x" data_type: TYPE_FP32 dims: [ 8 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 16 ] } ]
ensemble_scheduling { step [ {
  model_name: "first" model_version: -1 input_map { key: "x" value: "x" } output_map { key: "y" value: "y" }
} ] }
"""
_LOGGED = """
class Model:
    def load(self, parameters, folder):
        self.log = open(parameters["log"], "ab", buffering=0)

    def infer(self, batch):
        self.log.write(b"." * len(batch["x"]))
        return {"y": batch["x"]}
"""


def _refused(folder: Path) -> str:
    command = [
        sys.executable,
        "-c",
        "from falaj.server.cli import main; main()",
        "tune",
        str(folder),
        "--slo-ms",
        "5",
    ]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[3], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, "Traceback" in done.stderr, done.stdout) == (1, False, ""), done.stderr
    with pytest.raises(falaj.Unsupported) as caught:
        subject_at(folder)
    return str(caught.value)


def test_pipeline_is_refused_and_its_models_are_named_when_it_is_tuned(tmp_path: Path) -> None:
    add_models(tmp_path)
    add_pipeline(tmp_path, "chain", CHAIN)
    (tmp_path / "ensemble").mkdir()
    (tmp_path / "ensemble" / "config.pbtxt").write_text(_ENSEMBLE, encoding="utf-8")
    why = "is a pipeline, which has no instances, threads or batches of its own: tune its models: "
    models = f"'{tmp_path / 'first'}', '{tmp_path / 'second'}'"
    assert _refused(tmp_path / "chain") == f"'{tmp_path / 'chain'}': {why}{models}"
    assert _refused(tmp_path / "ensemble") == f"'{tmp_path / 'ensemble'}': {why}'{tmp_path / 'first'}'"
    assert subject_at(tmp_path / "first").version == 1


def test_stateful_model_is_refused_when_it_is_tuned(tmp_path: Path) -> None:
    add_sum(tmp_path)
    assert "keeps state ([sequence]), and the requests of a load belong to no sequence" in _refused(
        tmp_path / "sum"
    )


def test_decoupled_model_is_refused_when_it_is_tuned(tmp_path: Path) -> None:
    add_python(tmp_path, "count", COUNTING, head=DECOUPLED)
    assert "answers a request any number of times (`decoupled`)" in _refused(tmp_path / "count")


def test_model_with_features_is_refused_when_it_is_tuned(tmp_path: Path) -> None:
    folder = add_joined(tmp_path, account()).parent
    assert "looks features up, which needs the stores of its server" in _refused(folder)


def test_versions_that_are_not_there_are_told_when_none_is_served(tmp_path: Path) -> None:
    folder = add_python(tmp_path, "echo", head="[versions]\npolicy = 'specific'\nlist = [7]\n").parent
    with pytest.raises(ConfigError, match=r"version 7 is not there, there are \[1\]"):
        subject_at(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(falaj.NotFound, match="expected version folders"):
        subject_at(tmp_path / "empty")


def test_rows_are_taken_and_variants_are_not_when_the_model_is_python(tmp_path: Path) -> None:
    subject = subject_at(add_python(tmp_path, "echo").parent)
    for data in (None, tmp_path / "rows.npz", tmp_path / "requests.json"):
        with prepared(subject, Sources(data)) as made:
            assert (made.inputs, made.variants()) == (data, {})
    for sources, message in (
        (Sources(tmp_path / "rows.csv"), r"expected \.npz or \.json for a python model, got .*rows\.csv"),
        (Sources(tmp_path / "rows.npz", ("fp16",)), "expected none of a python model, which has no graph"),
    ):
        with pytest.raises(falaj.InvalidInput, match=message), prepared(subject, sources):
            pass


def test_each_request_runs_the_model_when_its_answers_would_be_kept(tmp_path: Path) -> None:
    log = tmp_path / "runs"
    toml = f"parameters = {{ log = '{log}' }}\n\n[cache]\nmax_bytes = 1000000\n"
    folder = add_python(tmp_path / "models", "logged", _LOGGED, head=toml).parent
    inputs = tmp_path / "one.npz"
    np.savez(inputs, x=np.ones((1, 1), np.float32))  # the same request again and again
    subject = subject_at(folder)
    with TrialServer(subject, Asking(concurrency=4, data=inputs), 2000, {}, cores=1) as server:
        for setting in (DEFAULTS, Setting(instances=2, max_batch_size=8)):
            server.serve(setting)
            # Of a python model there are no threads to be set.
            assert server.resolved() == Resolved(setting.instances or 1, None, setting.max_batch_size or 32)
            before = log.stat().st_size
            seen = server(setting, None, 0.3)
            assert (seen.errors, seen.answered > 10) == (0, True)
            assert log.stat().st_size - before >= seen.answered
    # It is off in the copy alone.
    assert "[cache]\nmax_bytes = 1000000\n" in toml_of(
        subject, Setting(instances=1, threads=1, max_batch_size=8)
    )

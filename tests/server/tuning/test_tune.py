"""`falaj tune` from end to end: a real server process, real load, real files."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import falaj
from falaj.server.model_config import load_model_toml
from falaj.server.tuning.setting import DEFAULTS, Setting
from falaj.server.tuning.subject import subject_at
from falaj.server.tuning.trial_server import Asking, Resolved, TrialServer
from falaj.server.tuning.variants import Sources, prepared
from falaj.server.tuning.written import write
from tests.server.tuning.digits import add_digits

ROOT = Path(__file__).parents[3]
TOML = "# of the team\nmax_queue_rows = 2000  # bursts\n\n[versions]\nn = 2\n"
# Of a loaded machine of two cores, whose stalls are longer than any answer.
PATIENT_MS = 2000.0


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tune")
    add_digits(root, TOML)
    return root


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _falaj(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from falaj.server.cli import main; main()", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


def test_choice_is_measured_and_written_only_if_better_when_a_model_is_tuned(tmp_path: Path) -> None:
    folder = add_digits(tmp_path, TOML)
    before = _files(folder)
    done = _falaj("tune", str(folder), "--slo-ms", str(PATIENT_MS), "--seconds", "2", "--json")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["seconds"] >= 2
    assert told["tried"]
    assert told["left_out"] >= 0
    assert any(each["found"]["rate"] > 0 for each in told["tried"])
    assert {each["setting"]["variant"] for each in told["tried"]} == {"original"}
    compared = told["compared"]
    assert len(compared["defaults"]) == len(compared["setting"]) == 6
    assert told["better"] is (compared["low"] is None or compared["low"] > 1.02)
    if not told["better"]:
        assert (told["written"], told["model_toml"], _files(folder)) == ([], None, before)
        return
    assert told["written"] == [str(folder / "model.toml")]
    text = (folder / "model.toml").read_text()
    assert text == told["model_toml"]
    assert "# of the team\nmax_queue_rows = 2000  # bursts\n" in text
    config = load_model_toml(folder / "model.toml")
    assert (config.instances, config.threads) == (told["choice"]["instances"], told["choice"]["threads"])
    assert config.versions.n == 2


def test_nothing_is_written_when_no_setting_is_inside_the_bound(home: Path) -> None:
    folder = home / "models" / "digits"
    before = _files(folder)
    done = _falaj("tune", str(folder), "--slo-ms", "0.001", "--seconds", "2")
    assert (done.returncode, done.stderr) == (0, "")
    assert "no setting holds any rate inside 0.001 ms; the lowest p99 that was seen is" in done.stdout
    assert _files(folder) == before


def test_settings_are_served_in_turn_when_a_server_tries_them(home: Path) -> None:
    subject = subject_at(home / "models" / "digits")
    corrupt = home / "corrupt.onnx"
    corrupt.write_bytes(b"no model")
    asking = Asking(concurrency=4, data=None)
    with TrialServer(subject, asking, PATIENT_MS, {"broken": corrupt}, cores=2) as server:
        server.serve(DEFAULTS)
        assert server.resolved().max_batch_size > 0
        for setting, resolved in (
            (Setting("original", 1, 2, 8), Resolved(1, 2, 8)),
            (Setting("original", 2, 1, 0), Resolved(2, 1, 0)),
        ):
            seen = server(setting, None, 0.3)
            assert (seen.errors, seen.why) == (0, "")
            assert seen.answered > 10
            assert server.resolved() == resolved
        broken = server(Setting("broken", 1, 1, 8), None, 0.3)
        assert broken.answered == 0
        assert "ONNX Runtime could not load" in broken.why
        rate = server(Setting("original", 1, 1, 8), 50.0, 0.6)
        assert rate.errors == 0
        assert 10 < rate.throughput < 100


def test_server_is_started_again_when_its_process_ended(home: Path) -> None:
    subject = subject_at(home / "models" / "digits")
    with TrialServer(subject, Asking(concurrency=2), PATIENT_MS, {}, cores=1) as server:
        assert server(DEFAULTS, None, 0.3).answered > 0
        children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
        os.kill(int(children[-1]), signal.SIGKILL)
        os.waitid(os.P_PID, int(children[-1]), os.WEXITED | os.WNOWAIT)
        assert server(DEFAULTS, None, 0.3).answered > 0


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_model_is_asked_by_either_protocol_when_told(home: Path, protocol: str) -> None:
    subject = subject_at(home / "models" / "digits")
    with TrialServer(subject, Asking(protocol, rows=2, concurrency=4), PATIENT_MS, {}, cores=1) as server:
        seen = server(DEFAULTS, 20.0, 0.5)
    assert (seen.errors, seen.answered > 0) == (0, True)


def test_variant_becomes_the_next_version_when_it_is_chosen(tmp_path: Path) -> None:
    folder = add_digits(tmp_path, TOML)
    subject = subject_at(folder)
    sources = Sources(tmp_path / "rows.npz", ("fp16", "int8-dynamic"), labels="digit", metric="accuracy")
    with prepared(subject, sources) as made:
        variants = made.variants()
        assert set(variants) == {"fp16", "int8-dynamic"}
        assert (variants["fp16"].batched, variants["int8-dynamic"].batched) == (True, False)
        files = {name: variant.file for name, variant in variants.items()}
        choice = Setting("fp16", 1, 1, 8)
        asking = Asking(concurrency=4, data=made.inputs)
        with TrialServer(subject, asking, PATIENT_MS, files, cores=1) as server:
            assert server(choice, None, 0.3).answered > 0
        written = write(subject, choice, made.sound)
    assert written.paths == (folder / "2", folder / "model.toml")
    assert (folder / "model.toml").read_text().startswith("# of the team\nmax_queue_rows = 2000  # bursts\n")
    with falaj.Engine(folder.parent, cores=1, strict=True) as engine:
        told = engine.describe("digits", 2)
        assert (told["instances"], told["threads"], told["max_batch_size"]) == (1, 1, 8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere", "--slo-ms", "5"), "expected a model's folder in a repository"),
        (("digits", "--slo-ms", "0"), "slo_ms: expected more than 0, got 0.0"),
        (("digits", "--slo-ms", "5", "--seconds", "1"), "seconds: expected 2 or more, got 1.0"),
        (("digits", "--slo-ms", "5", "--protocol", "smtp"), "--protocol: expected http or grpc, got 'smtp'"),
        (("digits", "--slo-ms", "5", "--variants", "fp16"), "variants: expected --data with rows"),
        (("digits/7", "--slo-ms", "5"), "has no version 7, it has [1]"),
    ],
)
def test_reason_is_told_when_a_model_cannot_be_tuned(
    home: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = _falaj("tune", str(home / "models" / arguments[0]), *arguments[1:])
    assert done.returncode != 0
    assert message in done.stderr


def test_configuration_of_triton_is_not_replaced_when_there_is_no_toml(tmp_path: Path) -> None:
    folder = add_digits(tmp_path, "")
    (folder / "config.pbtxt").write_text('name: "digits"\nbackend: "onnxruntime"\n')
    with pytest.raises(falaj.InvalidInput, match=r"config\.pbtxt, in place of which the model\.toml"):
        subject_at(folder)

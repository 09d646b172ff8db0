"""`falaj demo` as a user runs it: from the files of flights to a server that stays."""

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from falaj.training.demo import server

_ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Done:
    """A demo that has ended and whose server runs."""

    folder: Path
    said: str


def _demo(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "falaj.server", "demo", str(folder), *arguments]
    env = {**os.environ, "PYTHONPATH": str(_ROOT)}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=800)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    folder = tmp_path_factory.mktemp("demo") / "flights"
    ended = _demo(folder, "--until", "2013-07-01T16:00:00Z", "--trials", "0")
    try:
        assert ended.returncode == 0, ended.stdout + ended.stderr
        yield Done(folder, ended.stdout)
    finally:
        server.stop(folder)


def test_every_served_answer_is_what_training_has(done: Done) -> None:
    found = re.search(r"(\d+) of (\d+) served answers are what training has", done.said)
    assert found is not None
    assert found[1] == found[2]
    assert int(found[1]) > 400


def test_months_of_the_test_period_are_told_beside_a_plain_model(done: Done) -> None:
    rows = re.findall(r"│ (\d\d) +│ +[\d,]+ +│ +[\d.]+% │ (0\.\d+) │ (0\.\d+)", done.said)
    assert [month for month, _, _ in rows] == ["07", "08", "09", "10", "11", "12"]
    for _, auc, plain in rows:
        assert float(auc) > float(plain) > 0.6


def test_server_stays_and_is_asked_by_key_until_it_is_stopped(done: Done) -> None:
    found = re.search(r"The server stays: (http://127\.0\.0\.1:\d+)/v2/models/late", done.said)
    assert found is not None
    page = (_ROOT / "docs" / "demo.md").read_text(encoding="utf-8")
    (body,) = re.findall(r"infer -d '(.*?)'", page, re.DOTALL)
    (as_of,) = re.findall(r'add `(\{"name": "features_as_of".*?\})`', page, re.DOTALL)
    asked = json.loads(body)
    asked["inputs"].append(json.loads(as_of))
    request = json.dumps(asked).encode()
    with urllib.request.urlopen(f"{found[1]}/v2/models/late/infer", request) as answer:
        outputs = {each["name"]: each["data"] for each in json.load(answer)["outputs"]}
    assert sum(outputs["probabilities"]) == pytest.approx(1, abs=1e-6)
    server.stop(done.folder)
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"{found[1]}/v2/health/live")


def test_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    ended = _demo(tmp_path)
    assert ended.returncode == 2
    assert ended.stderr == f"falaj: {tmp_path}: has other files in it; name an empty folder, or a new one\n"
    assert (tmp_path / "thesis.tex").read_text() == "years of work"

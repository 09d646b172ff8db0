"""Loading a model with a configuration and files that are not the repository folder's."""

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import falaj
from falaj.server.folder import read_config, read_folder
from falaj.server.model_config import ModelConfig, VersionPolicy
from falaj.server.override import Override, OverrideFolders
from tests import zoo
from tests.serving import QUICK, add_model, add_python, x_of
from tests.zoo.model import serialise

pytestmark = pytest.mark.core

TENSORS = """
from pathlib import Path

class Model:
    def load(self, parameters, folder):
        self.folder = Path(folder)

    def infer(self, batch):
        return {"y": batch["x"] * float((self.folder / "factor").read_text())}
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where folders for overrides are made. Nothing may be left of them when the engine is closed."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


def config_of(folder: Path) -> ModelConfig:
    return read_config(read_folder(folder.parent.parent, folder.parent.name))[0]


def files_of(model: zoo.ZooModel, version: int = 1) -> dict[str, bytes]:
    return {f"{version}/model.onnx": serialise(model.proto)}


def test_config_replaces_the_folders_until_the_next_load_when_given(models: Path) -> None:
    add_model(models, zoo.mlp(), QUICK)
    with falaj.Engine(models, cores=1, strict=True) as engine:
        before = engine.describe("mlp")["max_batch_size"]
        engine.load_override("mlp", Override(ModelConfig(max_batch_size=5, tune_ms=0)))
        assert engine.describe("mlp")["max_batch_size"] == 5
        engine.load_override("mlp", Override(ModelConfig(max_batch_size=6, tune_ms=0)))
        assert engine.describe("mlp")["max_batch_size"] == 6
        engine.load("mlp")
        assert engine.describe("mlp")["max_batch_size"] == before != 6


def test_files_replace_the_folder_until_the_next_load_when_given(models: Path, temporary: Path) -> None:
    add_model(models, zoo.mlp(), QUICK)
    other = zoo.identity("FP32", 2, seed=3)
    override = Override(ModelConfig(tune_ms=0), files=files_of(other, version=7))
    with falaj.Engine(models, cores=1, strict=True) as engine:
        engine.load_override("mlp", override)
        assert [row["version"] for row in engine.models()] == [7]
        assert engine.describe("mlp")["inputs"][0]["name"] == other.inputs[0].name
        [root] = temporary.iterdir()
        assert stat.S_IMODE(os.stat(root).st_mode) == 0o700
        engine.load("mlp")
        assert [row["version"] for row in engine.models()] == [1]
        assert list(root.iterdir()) == []


def test_model_needs_no_folder_when_its_files_are_given(models: Path, temporary: Path) -> None:
    with falaj.Engine(models, cores=1) as engine:
        engine.load_override("new", Override(ModelConfig(tune_ms=0), files=files_of(zoo.mlp())))
        assert engine.models() == [{"name": "new", "version": 1, "state": "READY", "reason": ""}]
        with pytest.raises(falaj.NotFound, match="'new' has no folder"):
            engine.load("new")
        assert engine.models()[0]["state"] == "READY"
        [root] = temporary.iterdir()
        assert len(list(root.iterdir())) == 1
        engine.unload("new")
        assert list(root.iterdir()) == []
        assert engine.models() == []


def test_files_stay_where_they_are_when_the_model_reads_them_later(models: Path) -> None:
    config = config_of(add_python(models, "template", TENSORS, head="max_batch_size = 4"))
    files = {"1/model.py": TENSORS.encode(), "1/factor": b"2", "labels.txt": b"a\nb\n"}
    with falaj.Engine(models, cores=1, models=[]) as engine:
        engine.load_override("scaled", Override(config, files=files))
        assert engine.infer("scaled", x_of(3))["y"].tolist() == [[6]]
        again = Override(config, files={**files, "1/factor": b"5"})
        engine.load_override("scaled", again)
        assert engine.infer("scaled", x_of(3))["y"].tolist() == [[15]]


def test_what_serves_is_untouched_when_an_override_cannot_be_loaded(models: Path, temporary: Path) -> None:
    add_model(models, zoo.mlp(), QUICK)
    with falaj.Engine(models, cores=1, strict=True) as engine:
        for override, wanted in (
            (Override(ModelConfig(), files={"1/model.onnx": b"no model"}), falaj.InvalidInput),
            (Override(ModelConfig(), files={"1/other.onnx": b"x"}), falaj.NotFound),
            (Override(ModelConfig(backend="python")), falaj.NotFound),
            (Override(ModelConfig(versions=VersionPolicy("specific", list=(9,)))), falaj.InvalidInput),
        ):
            with pytest.raises(wanted):
                engine.load_override("mlp", override)
            engine.infer("mlp", {"x": np.zeros((1, 32), dtype=np.float32)})
            assert [row["version"] for row in engine.models() if row["state"] == "READY"] == [1]
        roots = list(temporary.iterdir())
        assert [list(root.iterdir()) for root in roots] == [[] for _ in roots]


def test_each_version_keeps_its_own_files_when_only_some_are_loaded(models: Path, temporary: Path) -> None:
    policy = ModelConfig(versions=VersionPolicy("all"), tune_ms=0)
    good = files_of(zoo.mlp(), 1) | files_of(zoo.mlp(), 2)
    with falaj.Engine(models, cores=1) as engine:
        engine.load_override("m", Override(policy, files=good))
        with pytest.raises(falaj.InvalidInput):
            engine.load_override("m", Override(policy, files=files_of(zoo.mlp(), 2) | {"3/model.onnx": b"x"}))
        ready = [row["version"] for row in engine.models() if row["state"] == "READY"]
        assert ready == [1, 2]
        [root] = temporary.iterdir()
        assert len(list(root.iterdir())) == 2  # version 1 is the first load's, version 2 the second's
        engine.load_override("m", Override(policy, files=good))
        assert len(list(root.iterdir())) == 1


@pytest.mark.parametrize("name", ["../x", "..", ".", "", "a/b", "/etc", "a\0b"])
def test_name_is_refused_and_nothing_written_when_it_is_a_path(
    models: Path, temporary: Path, name: str
) -> None:
    with falaj.Engine(models, cores=1) as engine:
        with pytest.raises(falaj.NotFound):
            engine.load_override(name, Override(ModelConfig(), files=files_of(zoo.mlp())))
        assert engine.models() == []
        assert list(temporary.rglob("*")) == []
        assert sorted(path.name for path in models.parent.iterdir()) == ["models", "temporary"]


@pytest.mark.parametrize(
    "files",
    [
        {"1": b""},
        {"model.onnx": b""},
        {"0/model.onnx": b""},
        {"01/model.onnx": b""},
        {"one/model.onnx": b""},
        {"../1/model.onnx": b"", "1/model.onnx": b""},
        {"1/../../model.onnx": b"", "1/model.onnx": b""},
        {"/1/model.onnx": b"", "1/model.onnx": b""},
        {"1//model.onnx": b"", "1/model.onnx": b""},
        {"1/./model.onnx": b"", "1/model.onnx": b""},
        {"1/model.onnx/": b"", "1/model.onnx": b""},
        {"1/a\0b": b"", "1/model.onnx": b""},
        {"1/a\\b": b"", "1/model.onnx": b""},
        {"1/" + "a" * 256: b"", "1/model.onnx": b""},
        {"1/" + "a/" * 20 + "b": b"", "1/model.onnx": b""},
        {"1/a": b"", "1/a/b": b"", "1/model.onnx": b""},
        {"": b"", "1/model.onnx": b""},
        {"1/\ud800": b"", "1/model.onnx": b""},
    ],
)
def test_files_are_refused_when_their_paths_are_not_those_of_a_model(files: dict[str, bytes]) -> None:
    with pytest.raises(falaj.InvalidInput):
        Override(ModelConfig(), files=files)


@given(st.dictionaries(st.text(max_size=20) | st.from_regex(r"\A[1-9]/[a-z./]{1,9}\Z"), st.binary()))
def test_files_stay_in_their_folder_when_they_are_accepted(files: dict[str, bytes]) -> None:
    try:
        Override(ModelConfig(), files=files)
    except falaj.InvalidInput:
        return
    folders = OverrideFolders()
    try:
        folder = folders.write(files)
        written = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }
        assert written == dict(files)
        assert all(path.resolve().is_relative_to(folder.resolve()) for path in folder.rglob("*"))
    finally:
        folders.close()
    assert not folder.exists()


def test_disk_errors_are_told_when_files_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "not there"))
    with pytest.raises(falaj.Unavailable, match="no folder could be made"):
        OverrideFolders().write({"1/model.onnx": b""})

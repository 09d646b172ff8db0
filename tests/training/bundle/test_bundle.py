"""Bundles: written whole, read back, and served."""

import json
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import falaj
from falaj.features.binding import (
    Binding,
    BoundInput,
    BoundView,
    Feature,
    RequestValue,
    read_binding,
    write_binding,
)
from falaj.features.file_seen import FileSeen
from falaj.training.bundle.baseline import baseline_of, read_baseline
from falaj.training.bundle.bundle import Bundle, CardText, Proof, read_bundle, write_bundle
from falaj.training.bundle.bundle_files import hash_of, verify_bundle
from falaj.training.bundle.snapshot import Snapshot, see_files
from falaj.training.errors import TrainingError
from tests.server.joined_model import account, fill
from tests.training.graph.fitted import COLUMNS, Fitted, tumours

FILES = ["baseline.json", "card.html", "card.md", "model.onnx"]
SNAPSHOT = Snapshot((FileSeen("rows.parquet", 3, "ab" * 32),), 400, None, "2013-01-01", "2013-06-30")


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    return tumours()


def export(repository: Path, fitted: Fitted, **more: Any) -> Path:
    given = {
        "original": fitted.original,
        "model": fitted.model,
        "baseline": baseline_of(fitted.original, fitted.rows, fitted.original.predict(fitted.held)),
        "card": CardText("# tumours\n", "<!doctype html><title>tumours</title>"),
        "proof": Proof({"passed": True}, [{"name": "auc", "split": "test", "value": 0.5}]),
        "snapshot": SNAPSHOT,
    }
    return write_bundle(repository, "tumours", **{**given, **more})


def test_bundle_answers_as_the_original_when_it_is_served(tmp_path: Path, fitted: Fitted) -> None:
    folder = export(tmp_path, fitted)
    assert folder == tmp_path / "tumours" / "1"
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine:
        answer = engine.infer("tumours", fitted.held)
    expected = fitted.original.predict(fitted.held)
    np.testing.assert_allclose(answer["probabilities"], expected["probabilities"], atol=1e-6)
    np.testing.assert_array_equal(answer["label"], expected["label"])


def test_bundle_tells_what_was_written_when_it_is_read(tmp_path: Path, fitted: Fitted) -> None:
    folder = export(tmp_path, fitted, versions={"scikit-learn": "0.1", "lightgbm": "4"})
    bundle = read_bundle(folder)
    assert isinstance(bundle, Bundle)
    assert dict(bundle.files) == {name: hash_of(folder / name) for name in FILES}
    assert sorted(path.name for path in folder.iterdir()) == sorted([*FILES, "bundle.json"])
    assert bundle.model["inputs"] == [
        {"name": "x", "datatype": "FP32", "shape": [-1, 3], "columns": list(COLUMNS)}
    ]
    assert bundle.model["outputs"][1] == {
        "name": "probabilities",
        "datatype": "FP32",
        "shape": [-1, 2],
        "role": "scores",
    }
    assert (bundle.model["opset"], bundle.model["ir"]) == (18, fitted.model.ir_version)
    assert bundle.training == SNAPSHOT.plain()
    assert (bundle.parity, bundle.metrics[0]["name"], bundle.binding) == ({"passed": True}, "auc", None)
    assert bundle.versions["scikit-learn"] == "0.1"
    libraries = {"falaj", "python", "numpy", "onnx", "onnxruntime", "skl2onnx", "lightgbm"}
    assert libraries <= bundle.versions.keys()
    assert read_baseline(folder / "baseline.json").inputs[0].rows == 400
    assert verify_bundle(folder) == ()


def test_bundle_is_the_next_version_when_there_are_some(tmp_path: Path, fitted: Fitted) -> None:
    (tmp_path / "tumours" / "9").mkdir(parents=True)
    (tmp_path / "tumours" / "11.old").mkdir()
    assert export(tmp_path, fitted).name == "10"
    assert export(tmp_path, fitted).name == "11"


def test_exports_have_versions_of_their_own_when_they_are_made_at_once(
    tmp_path: Path, fitted: Fitted
) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: export(tmp_path, fitted), range(16)))
    assert sorted(int(folder.name) for folder in made) == list(range(1, 17))
    assert all(verify_bundle(folder) == () for folder in made)
    assert sorted(path.name for path in (tmp_path / "tumours").iterdir()) == sorted(map(str, range(1, 17)))


_EXPORTS = """
import sys
from pathlib import Path
from tests.training.graph.fitted import tumours
from tests.training.bundle.test_bundle import export

fitted = tumours()
while True:
    print(export(Path(sys.argv[1]), fitted).name, flush=True)
"""


def test_versions_are_whole_when_their_export_is_killed(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    root = Path(__file__).parents[3]
    for _ in range(2):
        command = [sys.executable, "-W", "ignore", "-c", _EXPORTS, str(tmp_path)]
        with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            first, second = int(child.stdout.readline()), int(child.stdout.readline())
            assert second == first + 1
            time.sleep(random.uniform(0, 0.02))  # to be somewhere in the midst of the next
            child.kill()
    versions = sorted(int(path.name) for path in (tmp_path / "tumours").glob("[0-9]*"))
    assert versions == list(range(1, len(versions) + 1))
    assert len(versions) >= 4
    for version in versions:
        folder = tmp_path / "tumours" / str(version)
        assert verify_bundle(folder) == ()
        assert sorted(read_bundle(folder).files) == FILES


@pytest.mark.parametrize("file", FILES)
def test_serving_refuses_a_bundle_when_a_file_was_changed(tmp_path: Path, fitted: Fitted, file: str) -> None:
    folder = export(tmp_path, fitted)
    was = hash_of(folder / file)
    with open(folder / file, "ab") as changed:
        changed.write(b"\n")
    (difference,) = verify_bundle(folder)
    assert (difference.file, difference.expected) == (file, was)
    assert difference.found == hash_of(folder / file)
    told = f"bundle.json: version 1 is not what was exported: {file}: expected sha256 {was}, got "
    with pytest.raises(falaj.Error, match=told), falaj.Engine(tmp_path, cores=1, strict=True):
        pass


def test_a_version_goes_on_serving_when_the_next_is_not_whole(tmp_path: Path, fitted: Fitted) -> None:
    first = export(tmp_path, fitted)
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine:
        broken = tmp_path / "broken"
        shutil.copytree(first, broken)
        (broken / "model.onnx").write_bytes((broken / "model.onnx").read_bytes()[:-1] + b"\0")
        (broken / "baseline.json").unlink()
        broken.rename(tmp_path / "tumours" / "2")
        with pytest.raises(falaj.Error, match=r"baseline\.json: expected sha256 \w+, there is no such file"):
            engine.load("tumours")
        assert len(engine.infer("tumours", fitted.held)["label"]) == len(fitted.held_target)
        assert engine.describe("tumours")["version"] == 1


@pytest.mark.parametrize(
    "files", ['{"../model.onnx": "00"}', '{"/etc/hostname": "00"}', '{"..": "00"}', '{"model.onnx": 1}', "[]"]
)
def test_a_bundle_is_refused_when_it_tells_of_files_elsewhere(tmp_path: Path, files: str) -> None:
    (tmp_path / "bundle.json").write_text(f'{{"files": {files}}}')
    with pytest.raises(TrainingError, match=r"bundle\.json: files: expected"):
        verify_bundle(tmp_path)


def test_nothing_differs_when_a_folder_has_no_bundle(tmp_path: Path) -> None:
    assert verify_bundle(tmp_path) == ()
    (tmp_path / "bundle.json").write_text("{}")
    assert verify_bundle(tmp_path) == ()


def _binding(on_missing: str = "default") -> Binding:
    columns = (Feature("account", "income"), RequestValue("texture", "FP32"), Feature("account", "visits"))
    view = BoundView(account(), "nan" if on_missing == "nan" else "default")
    return Binding((view,), (BoundInput("x", columns),))


def test_bundle_looks_features_up_when_it_is_bound(tmp_path: Path, fitted: Fitted) -> None:
    folder = export(tmp_path / "models", fitted, binding=_binding())
    assert read_bundle(folder).binding == _binding() == read_binding(folder)
    fill(tmp_path / "online", account(), time.time_ns() // 1000)
    with falaj.Engine(
        tmp_path / "models", cores=1, strict=True, features=f"lmdb://{tmp_path / 'online'}"
    ) as engine:
        asked = {"customer_id": np.array([[1], [9]], np.int64), "texture": np.array([[3], [4]], np.float32)}
        answer = engine.infer("tumours", asked)
    served = {"x": np.array([[10, 3, 1], [-1, 4, 7]], np.float32)}
    np.testing.assert_allclose(
        answer["probabilities"], fitted.original.predict(served)["probabilities"], atol=1e-6
    )


def test_bundle_keeps_its_other_parts_when_it_is_bound_anew(tmp_path: Path, fitted: Fitted) -> None:
    folder = export(tmp_path, fitted, binding=_binding())
    before = json.loads((folder / "bundle.json").read_text())
    write_binding(folder, _binding("nan"))
    after = json.loads((folder / "bundle.json").read_text())
    assert before.pop("features") != after.pop("features")
    assert before == after
    assert verify_bundle(folder) == ()
    assert read_bundle(folder).binding == _binding("nan")


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "a\0b"])
def test_bundle_is_refused_when_the_name_can_be_no_folders(tmp_path: Path, fitted: Fitted, name: str) -> None:
    with pytest.raises(TrainingError, match="model name: expected one that a folder can have"):
        write_bundle(
            tmp_path,
            name,
            original=fitted.original,
            model=fitted.model,
            baseline=baseline_of(fitted.original, fitted.rows, fitted.original.predict(fitted.rows)),
            card=CardText("", ""),
            proof=Proof(),
        )
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_when_a_bundle_cannot_be_written(tmp_path: Path, fitted: Fitted) -> None:
    (tmp_path / "tumours").write_text("a file")
    with pytest.raises(TrainingError, match="tumours: cannot be written"):
        export(tmp_path, fitted)
    (tmp_path / "tumours").unlink()
    with pytest.raises(TrainingError, match=r"bundle\.json: expected what JSON can tell: "):
        export(tmp_path, fitted, proof=Proof({"worst": float("nan")}))
    assert list((tmp_path / "tumours").iterdir()) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file"),
        ("{", "cannot be read"),
        ("{}", "format: expected 1, got None"),
        ('{"format": 1}', "expected 'files', which is not there"),
    ],
)
def test_a_folder_is_refused_when_it_is_no_bundle(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "bundle.json").write_text(text)
    with pytest.raises(TrainingError, match=message):
        read_bundle(tmp_path)


def test_a_snapshot_is_known_by_what_the_files_have_when_they_are_moved(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("a")
    two.write_text("b")
    here = Snapshot(see_files([one, two]), 2)
    one.rename(tmp_path / "three")
    assert Snapshot(see_files([two, tmp_path / "three"]), 2).hash == here.hash
    two.write_text("c")
    assert Snapshot(see_files([two, tmp_path / "three"]), 2).hash != here.hash
    assert Snapshot(here.files, 2, "ab").hash != here.hash
    with pytest.raises(TrainingError, match=r"data: .*No such file"):
        see_files([one])

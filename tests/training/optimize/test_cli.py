"""`falaj optimize`, run as its users run it. That speed decides is tested apart: here all or none do."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from falaj import Engine
from tests.server.serving_process import ROOT
from tests.zoo.model import parse
from tests.zoo.nets import mlp

_FEW = ("--batches", "1", "--decide-by", "1", "--rounds", "6")
_KEEP = (*_FEW, "--min-speed", "0", "--max-flips", "1", "--max-error", "100", "--max-mean-error", "1")
_REFUSE = (*_FEW, "--min-speed", "1000")


def optimize(folder: Path, *arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "falaj.server", "optimize", *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "HOME": str(folder), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    version = tmp_path / "models" / "net" / "3"
    version.mkdir(parents=True)
    onnx.save(parse(mlp().proto), version / "model.onnx")
    x = mlp().sample(np.random.default_rng(0), 96)["x"]
    np.savez(tmp_path / "rows.npz", x=x, y=np.arange(96) % 2)
    return tmp_path


def test_next_version_is_written_with_its_bundle_when_a_variant_is_kept(folder: Path) -> None:
    version = folder / "models" / "net" / "3"
    (version / "card.md").write_text("# net\n")
    of_card, of_model = (
        hashlib.sha256((version / name).read_bytes()).hexdigest() for name in ("card.md", "model.onnx")
    )
    bundle = {
        "format": 1,
        "files": {"card.md": of_card, "model.onnx": of_model},
        "model": {"opset": 20, "inputs": [{"name": "x", "columns": []}]},
    }
    (version / "bundle.json").write_text(json.dumps(bundle))
    code, said, wrong = optimize(
        folder, "models/net", "--data", "rows.npz", "--variants", "int8-static", *_KEEP, "--json"
    )
    assert (code, wrong) == (0, "")
    told = json.loads(said)  # and none of what the quantiser says of itself
    made = folder / "models" / "net" / "4"
    assert (told["kept"], told["written"]) == ("int8-static", "models/net/4")
    assert sorted(path.name for path in made.iterdir()) == ["bundle.json", "card.md", "model.onnx"]
    assert sorted(path.name for path in made.parent.iterdir()) == ["3", "4"]
    written = json.loads((made / "bundle.json").read_text())
    assert written["files"] == {
        "card.md": of_card,
        "model.onnx": hashlib.sha256((made / "model.onnx").read_bytes()).hexdigest(),
    }
    assert written["optimized"]["of_version"] == 3
    assert written["optimized"]["original"]["sha256"] == of_model
    assert written["optimized"] == {"of_version": 3, **told["report"]}
    assert written["model"]["inputs"] == bundle["model"]["inputs"]  # type: ignore[index]
    with Engine(folder / "models", strict=True) as engine:
        assert engine.infer("net", {"x": np.zeros((2, 32), np.float32)}, version=4)["y"].shape == (2, 2)


def test_nothing_is_written_when_no_variant_is_worth_it(folder: Path) -> None:
    code, said, wrong = optimize(
        folder, "models/net/3", "--data", "rows.npz", "--variants", "fp16", *_REFUSE, "--csv", "all.csv"
    )
    assert (code, wrong) == (0, "")
    assert "no variant is worth it: the model is best as it is" in said
    assert "fp16: rejected\n  speed at 1 row: " in said
    assert [path.name for path in (folder / "models" / "net").iterdir()] == ["3"]
    assert (folder / "all.csv").read_text().startswith("variant,outcome,bytes,batch,rows_per_second,")


def test_file_is_written_beside_when_the_model_is_a_file(folder: Path) -> None:
    (folder / "models" / "net" / "3" / "model.onnx").rename(folder / "net.onnx")
    arguments = ("net.onnx", "--data", "rows.npz", "--labels", "y", "--metric", "accuracy", "--max-loss", "1")
    code, said, _ = optimize(folder, *arguments, "--variants", "fp16", *_KEEP)
    assert code == 0
    assert said.endswith("written: net.fp16.onnx\n")
    assert (folder / "net.fp16.onnx").stat().st_size < (folder / "net.onnx").stat().st_size
    code, _, wrong = optimize(folder, *arguments, "--out", "net.fp16.onnx")
    assert (code, wrong) == (2, "falaj: --out net.fp16.onnx: is there already\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ("models/other", "--data", "rows.npz"),
            "models/other: expected a file of a model, a version's folder",
        ),
        (("models/net", "--data", "none.npz"), "none.npz: no such file"),
        (("models/net", "--data", "rows.npz", "--labels", "y"), "expected --labels and --metric, or neither"),
        (("models/net", "--data", "rows.npz", "--batches", "a"), "--batches: expected numbers of rows"),
        (
            ("models/net", "--data", "rows.npz", "--variants", "int3"),
            "variants: expected some of graph-basic",
        ),
    ],
)
def test_command_is_refused_in_one_line_when_it_cannot_be_done(
    folder: Path, arguments: tuple[str, ...], told: str
) -> None:
    code, said, wrong = optimize(folder, *arguments)
    assert (code, said) == (2, "")
    assert told in wrong
    assert wrong.count("\n") == 1

"""Models in files of their libraries are read, and answer as graphs what they answer themselves."""

import pickle
from pathlib import Path
from typing import Any

import catboost
import joblib
import lightgbm
import numpy as np
import pandas as pd
import pytest
import torch
import xgboost
from onnx import TensorProto, helper
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from falaj.training.errors import TrainingError
from falaj.training.export.brought import load_original
from falaj.training.export.sample import read_sample, rows_of
from falaj.training.original import Original
from tests.training.graph.answers import assert_alike

_NAMES = ["age", "income", "debt"]


def _table(rows: int = 120) -> pd.DataFrame:
    random = np.random.default_rng(0)
    x = random.normal(size=(rows, 3)).astype(np.float32)
    frame = pd.DataFrame(x, columns=_NAMES)
    frame["late"] = (x[:, 0] - x[:, 2] > 0).astype(int)
    return frame


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with samples and with a model of each kind."""
    made, frame = tmp_path_factory.mktemp("brought"), _table()
    frame.to_parquet(made / "rows.parquet")
    frame.to_csv(made / "rows.csv", index=False)
    x, y = frame[_NAMES].to_numpy(np.float32), frame["late"].to_numpy()
    np.savez(made / "rows.npz", x=x)
    settings: dict[str, Any] = {"objective": "binary:logistic", "nthread": 1}
    booster = xgboost.train(settings, xgboost.DMatrix(x, y, feature_names=_NAMES), 5)
    booster.save_model(made / "model.json")
    booster.save_model(made / "model.ubj")
    small = {"objective": "binary", "verbose": -1, "num_threads": 1}
    lightgbm.train(small, lightgbm.Dataset(x, y), 5).save_model(made / "model.txt")
    quiet: dict[str, Any] = {"iterations": 5, "verbose": 0, "allow_writing_files": False}
    catboost.CatBoostClassifier(**quiet).fit(frame[_NAMES], y).save_model(str(made / "model.cbm"))
    logistic = make_pipeline(
        make_column_transformer((OneHotEncoder(), ["city"]), remainder="passthrough"), LogisticRegression()
    )
    cities = frame[_NAMES].assign(city=np.where(y, "a", "b"))
    joblib.dump(logistic.fit(cities, np.where(y, "late", "fine")), made / "model.joblib")
    cities.to_parquet(made / "cities.parquet")
    (made / "model.pkl").write_bytes(pickle.dumps(LogisticRegression().fit(x, y)))
    return made


def _read(folder: Path, file: str, sample: str = "rows.parquet", **settings: Any) -> Original:
    leave_out = ["late"] if sample in ("rows.parquet", "rows.csv") else []
    rows = read_sample(folder / sample, leave_out)
    original = load_original(folder / file, rows, **settings)
    assert original.origin == str(folder / file)
    assert_alike(original, rows_of(original, rows), within=1e-6, near=1e-6)
    return original


@pytest.mark.parametrize("file", ["model.json", "model.ubj", "model.txt", "model.cbm", "model.pkl"])
@pytest.mark.parametrize("sample", ["rows.parquet", "rows.csv"])
def test_model_of_a_matrix_is_read_when_saved(file: str, sample: str, folder: Path) -> None:
    original = _read(folder, file, sample)
    assert original.task == "binary"
    assert original.classes == (0, 1)
    assert [(one.name, one.columns) for one in original.inputs] == [("x", tuple(_NAMES))]
    assert bool(original.thresholds) == (file != "model.pkl")


def test_labels_are_told_when_a_booster_has_none(folder: Path) -> None:
    assert _read(folder, "model.txt", classes=("fine", "late")).classes == ("fine", "late")


def test_pipeline_is_read_when_saved(folder: Path) -> None:
    original = _read(folder, "model.joblib", "cities.parquet")
    assert [one.name for one in original.inputs] == [*_NAMES, "city"]
    assert original.classes == ("fine", "late")


_MODULE = """
import torch

def net():
    torch.manual_seed(3)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
"""


def _net() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))


@pytest.mark.parametrize("kept", ["module", "weights", "checkpoint", "program"])
def test_module_is_read_when_whole_or_as_weights(kept: str, folder: Path) -> None:
    net, name = _net(), "net.pt2" if kept == "program" else "net.pt"
    (folder / "net.py").write_text(_MODULE)
    if kept == "program":
        rows = ({0: torch.export.Dim("rows")},)
        torch.export.save(torch.export.export(net, (torch.zeros(3, 3),), dynamic_shapes=rows), folder / name)
    else:
        told = {"module": net, "weights": net.state_dict(), "checkpoint": {"state_dict": net.state_dict()}}
        torch.save(told[kept], folder / name)
    module = f"{folder / 'net.py'}:net" if kept in ("weights", "checkpoint") else ""
    original = _read(folder, name, "rows.npz", module=module, task="binary", classes=(0, 1))
    x = np.load(folder / "rows.npz")["x"]
    with torch.no_grad():
        right = torch.sigmoid(net(torch.from_numpy(x)))[:, 0].numpy()
    np.testing.assert_allclose(original.predict({"x": x})["probabilities"][:, 1], right, atol=1e-6)


def test_weights_are_refused_when_nothing_takes_them(folder: Path) -> None:
    torch.save(_net().state_dict(), folder / "weights.pth")
    sample = read_sample(folder / "rows.npz")
    with pytest.raises(TrainingError, match=r"got a OrderedDict: say what makes it: --module FILE.py:NAME"):
        load_original(folder / "weights.pth", sample)
    (folder / "other.py").write_text("import torch\ndef net(): return torch.nn.Linear(3, 2)\n")
    with pytest.raises(TrainingError, match=r"does not fit .*other.py:net"):
        load_original(folder / "weights.pth", sample, module=f"{folder / 'other.py'}:net")


def _onnx(folder: Path, outputs: str) -> Path:
    x = helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["n", 3])
    nodes = [helper.make_node("Softmax", ["rows"], ["p"], axis=1)]
    infos = [helper.make_tensor_value_info("p", TensorProto.FLOAT, ["n", 3])]
    if outputs == "both":
        nodes.append(helper.make_node("ArgMax", ["p"], ["label"], axis=1, keepdims=0))
        infos.insert(0, helper.make_tensor_value_info("label", TensorProto.INT64, ["n"]))
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], infos),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    path = folder / f"{outputs}.onnx"
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize(
    ("outputs", "task", "roles"), [("both", "multiclass", ["label", "scores"]), ("one", "other", ["value"])]
)
def test_graph_is_read_when_it_is_onnx(outputs: str, task: str, roles: list[str], folder: Path) -> None:
    original = _read(folder, _onnx(folder, outputs).name)
    assert original.task == task
    assert [one.role for one in original.outputs] == roles
    assert original.inputs[0].columns == tuple(_NAMES)
    told = _read(folder, _onnx(folder, outputs).name, task="multiclass", classes=("a", "b", "c"))
    assert told.classes == ("a", "b", "c")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("broken.json", "{}", "XGBoost"),
        ("broken.txt", "no model", "LightGBM"),
        ("broken.cbm", "no model", "CatBoost"),
        ("broken.pkl", "no model", "broken.pkl"),
        ("broken.onnx", "no model", "broken.onnx"),
        ("model.h5", "", "expected a file of one of .joblib"),
    ],
)
def test_file_is_refused_when_it_is_no_model(file: str, content: str, message: str, folder: Path) -> None:
    (folder / file).write_text(content)
    with pytest.raises(TrainingError, match=message):
        load_original(folder / file, read_sample(folder / "rows.npz"))


def test_sample_is_refused_when_a_column_is_not_there(folder: Path) -> None:
    with pytest.raises(TrainingError, match="no column 'nothing' to leave out; it has age, income, debt"):
        read_sample(folder / "rows.csv", ["nothing"])


def test_booster_is_refused_when_the_sample_has_other_columns(folder: Path) -> None:
    with pytest.raises(TrainingError, match="expected 3 columns, the sample has 4"):
        load_original(folder / "model.txt", read_sample(folder / "rows.parquet"))

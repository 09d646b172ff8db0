"""`falaj export` of models that someone brings, with a sample of their data."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

import falaj as served
from falaj.features.binding import BoundInput, Feature, RequestValue
from falaj.training.bundle.baseline import read_baseline
from falaj.training.bundle.bundle import read_bundle
from tests.training.export.loans import done, falaj, make_features
from tests.training.graph.fitted import COLUMNS, tumours

Frame = Any
Scores = Callable[[Frame], NDArray[Any]]


def _tumours() -> Frame:
    fitted = tumours()
    frame = pd.DataFrame(np.concatenate([fitted.rows["x"], fitted.held["x"]]), columns=list(COLUMNS))
    frame["benign"] = np.concatenate([fitted.target, fitted.held_target])
    frame["when"] = pd.date_range("2013-01-01", periods=len(frame), freq="9h", tz="UTC")
    return frame


def _joblib(path: Path, frame: Frame) -> tuple[Path, Scores]:
    import joblib
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), RandomForestClassifier(10, max_depth=5, random_state=0))
    model.fit(frame[list(COLUMNS)], frame.benign)
    joblib.dump(model, path / "model.joblib")
    return path / "model.joblib", lambda rows: model.predict_proba(rows)[:, 1]


def _lightgbm(path: Path, frame: Frame) -> tuple[Path, Scores]:
    import lightgbm

    params = {"objective": "binary", "verbosity": -1, "num_threads": 1}
    data = lightgbm.Dataset(frame[list(COLUMNS)], frame.benign, params={"verbosity": -1})
    model = lightgbm.train(params, data, 10)
    model.save_model(path / "model.txt")
    return path / "model.txt", lambda rows: np.asarray(model.predict(rows))


def _xgboost(path: Path, frame: Frame) -> tuple[Path, Scores]:
    import xgboost

    data = xgboost.DMatrix(frame[list(COLUMNS)], frame.benign)
    model = xgboost.train({"objective": "binary:logistic", "nthread": 1}, data, 10)
    model.save_model(path / "model.json")
    return path / "model.json", lambda rows: model.predict(xgboost.DMatrix(rows))


def _catboost(path: Path, frame: Frame) -> tuple[Path, Scores]:
    import catboost

    model = catboost.CatBoostClassifier(
        iterations=10, verbose=False, thread_count=1, allow_writing_files=False, random_seed=0
    )
    model.fit(frame[list(COLUMNS)], frame.benign)
    model.save_model(str(path / "model.cbm"))
    return path / "model.cbm", lambda rows: model.predict_proba(rows)[:, 1]


def _onnx(path: Path, frame: Frame) -> tuple[Path, Scores]:
    fitted = tumours()
    (path / "model.onnx").write_bytes(fitted.model.SerializeToString())

    def scores(rows: Frame) -> NDArray[Any]:
        return fitted.original.predict({"x": rows.to_numpy(np.float32)})["probabilities"][:, 1]

    return path / "model.onnx", scores


MAKERS = {"joblib": _joblib, "lightgbm": _lightgbm, "xgboost": _xgboost, "catboost": _catboost, "onnx": _onnx}


@pytest.mark.parametrize("kind", MAKERS)
def test_a_model_serves_as_its_library_when_it_is_brought(tmp_path: Path, kind: str) -> None:
    frame = _tumours()
    path, scores = MAKERS[kind](tmp_path, frame)
    frame.to_parquet(tmp_path / "sample.parquet")
    data = ("--data", "sample.parquet", "--target", "benign", "--time", "when")
    out = done(tmp_path, "export", path.name, "--name", kind, *data)
    assert out.endswith(f"exported: models/{kind}/1\n")
    folder = tmp_path / "models" / kind / "1"
    bundle = read_bundle(folder)
    taken = [name for each in bundle.model["inputs"] for name in each["columns"]]
    assert taken == list(COLUMNS)
    rows = frame[taken]
    asked = {each["name"]: rows[each["columns"]].to_numpy(np.float32) for each in bundle.model["inputs"]}
    with served.Engine(tmp_path / "models", cores=1, strict=True) as engine:
        answer = engine.infer(kind, asked)
    np.testing.assert_allclose(answer["probabilities"][:, 1], scores(rows), atol=1e-5)
    lines = [line for line in bundle.metrics if line["metric"] == "auc"]
    assert lines[0]["rows"] == len(frame)
    assert lines[0]["value"] > 0.9
    assert {line["of"] for line in lines if line["by"] == "month"} >= {"2013-01", "2013-07"}
    assert bundle.training is not None
    assert [Path(each["path"]).name for each in bundle.training["files"]] == [path.name, "sample.parquet"]
    assert "whether it was fitted on them is not known" in (folder / "card.md").read_text()
    assert {each.rows for each in read_baseline(folder / "baseline.json").inputs} == {len(frame)}


def test_arrays_serve_when_a_model_takes_no_table(tmp_path: Path) -> None:
    import onnx

    graph = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]>
        brightness (float[n, 4, 4] image) => (float[n, 1] light)
        { flat = Flatten(image) light = ReduceMean<axes = [1], keepdims = 1>(flat) }"""
    )
    onnx.save(graph, tmp_path / "light.onnx")
    image = np.random.default_rng(0).random((20, 4, 4)).astype(np.float32)
    np.savez(tmp_path / "images.npz", image=image)
    done(tmp_path, "export", "light.onnx", "--name", "light", "--data", "images.npz")
    folder = tmp_path / "models" / "light" / "1"
    baseline = read_baseline(folder / "baseline.json")
    assert (baseline.inputs[0].column, baseline.inputs[0].reference.counts.total) == (None, 320)
    assert "was not measured" in (folder / "card.md").read_text()
    with served.Engine(tmp_path / "models", cores=1, strict=True) as engine:
        answer = engine.infer("light", {"image": image})
    np.testing.assert_allclose(answer["light"][:, 0], image.mean(axis=(1, 2)), atol=1e-6)


def test_a_module_serves_when_its_outputs_have_names(tmp_path: Path) -> None:
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(3, 2)

        def forward(self, x: Any) -> Any:
            return torch.relu(self.layer(x))

    torch.manual_seed(0)
    net, x = Net().eval(), torch.randn(10, 3)
    rows = torch.export.Dim("rows")
    torch.export.save(torch.export.export(net, (x,), dynamic_shapes=({0: rows},)), tmp_path / "net.pt2")
    np.savez(tmp_path / "rows.npz", points=x.numpy())
    done(tmp_path, "export", "net.pt2", "--name", "net", "--data", "rows.npz", "--outputs", "places")
    with served.Engine(tmp_path / "models", cores=1, strict=True) as engine:
        answer = engine.infer("net", {"points": x.numpy()})
    np.testing.assert_allclose(answer["places"], net(x).detach().numpy(), atol=1e-6)


def test_features_are_bound_when_the_sample_is_a_feature_export(tmp_path: Path) -> None:
    import lightgbm

    make_features(tmp_path)
    frame = pd.read_parquet(tmp_path / "train.parquet")
    columns = ["amount", "account__income", "share"]
    given = frame[columns].assign(account__income=frame.account__income.fillna(20.0)).astype(np.float32)
    data = lightgbm.Dataset(given, frame.late, params={"verbosity": -1})
    model = lightgbm.train({"objective": "binary", "verbosity": -1, "num_threads": 1}, data, 10)
    model.save_model(tmp_path / "model.txt")
    arguments = ("--name", "late", "--data", "train.parquet", "--target", "late", "--json")
    told = json.loads(done(tmp_path, "export", "model.txt", *arguments))
    folder = tmp_path / told["exported"]
    bundle = read_bundle(folder)
    assert bundle.binding is not None
    assert bundle.binding.inputs == (BoundInput("account__income", (Feature("account", "income"),)),)
    assert [each["name"] for each in bundle.model["inputs"]] == ["amount", "account__income"]
    baseline = read_baseline(folder / "baseline.json")
    assert baseline.features[0].statuses["present"] == int((frame.account__status == "present").sum())
    assert baseline.inputs[1].reference.counts.missing == 0
    store = f"lmdb://{tmp_path / '.falaj' / 'online'}"
    with served.Engine(tmp_path / "models", cores=1, strict=True, features=store) as engine:
        ids, amounts = (frame[name].to_numpy().reshape(-1, 1) for name in ("customer_id", "amount"))
        answer = engine.infer("late", {"customer_id": ids.astype(np.int64), "amount": amounts})
    np.testing.assert_allclose(answer["probabilities"][:, 1], model.predict(given), atol=1e-6)


def test_a_column_is_a_requests_value_when_it_is_bound_so(tmp_path: Path) -> None:
    frame = _tumours()
    path, _ = _lightgbm(tmp_path, frame)
    frame.to_csv(tmp_path / "sample.csv", index=False)
    make_features(tmp_path)
    bind = ("--views", "account", "--bind", "x=account__income,texture:FP32,account__visits")
    leave = ("--leave-out", "benign", "--leave-out", "when")
    done(tmp_path, "export", path.name, "--name", "t", "--data", "sample.csv", *leave, *bind)
    binding = read_bundle(tmp_path / "models" / "t" / "1").binding
    assert binding is not None
    columns = (Feature("account", "income"), RequestValue("texture", "FP32"), Feature("account", "visits"))
    assert binding.inputs == (BoundInput("x", columns),)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "model.txt: is no run of `falaj train`; a model's file needs rows, as --data"),
        (("--data", "none.parquet"), "none.parquet: no such file"),
        (("--data", "sample.parquet", "--target", "none"), "no column 'none'; it has radius"),
        (("--data", "sample.parquet", "--target", "odd"), "expected one of the classes 0, 1, got 7"),
        (
            ("--data", "gaps.parquet", "--target", "benign"),
            "column 'benign': row 3: expected a value, got none",
        ),
        (
            ("--data", "sample.parquet", "--time", "texture", "--target", "benign", "--leave-out", "none"),
            "'none'",
        ),
    ],
)
def test_a_model_is_refused_when_its_sample_does_not_fit(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    frame = _tumours()
    _lightgbm(tmp_path, frame)
    frame.assign(odd=7).to_parquet(tmp_path / "sample.parquet")
    frame.assign(benign=frame.benign.astype(float).where(np.arange(len(frame)) != 3)).to_parquet(
        tmp_path / "gaps.parquet"
    )
    code, out, err = falaj(tmp_path, "export", "model.txt", "--name", "t", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert not (tmp_path / "models").exists()

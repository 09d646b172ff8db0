"""Runs of every kind: whole in their folder, read back, and the same when made again."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from falaj.training.errors import TrainingError
from falaj.training.fit.run import Run, compare, fit, refit
from falaj.training.fit.run_folder import read_run
from falaj.training.fit.spec import (
    CalibrationSpec,
    DataSpec,
    Kind,
    MetricsSpec,
    ModelSpec,
    TrainSpec,
    read_spec,
)
from tests.training.fit.customers import write_customers

KINDS: tuple[Kind, ...] = (
    "linear",
    "hist_gradient_boosting",
    "random_forest",
    "lightgbm",
    "xgboost",
    "catboost",
    "mlp",
)
FAMILIES = ("sklearn", "sklearn", "sklearn", "lightgbm", "xgboost", "catboost", "torch")
TARGETS = ("left", "spent", "level")


def spec_for(path: Path, kind: Kind, target: str, **more: Any) -> TrainSpec:
    others = tuple(name for name in TARGETS if name != target)
    rounds = {"linear": 200, "mlp": 12}.get(kind, 20)
    return TrainSpec(
        DataSpec(str(path), target, time="when", exclude=("who", *others), segments=("city",)),
        model=ModelSpec(kind, rounds=rounds, patience=8),
        metrics=MetricsSpec(20),
        threads=1,
        **more,
    )


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_customers(tmp_path_factory.mktemp("rows") / "rows.parquet")


@pytest.fixture(scope="module")
def run(rows: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    out = tmp_path_factory.mktemp("runs") / "left"
    spec = spec_for(rows, "lightgbm", "left", calibration=CalibrationSpec("sigmoid"))
    return fit(spec, out=out), out


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("kind", "family"), list(zip(KINDS, FAMILIES, strict=True)))
def test_run_learns_and_is_the_same_when_it_is_read_back(
    rows: Path, tmp_path: Path, kind: Kind, family: str, target: str
) -> None:
    made = fit(spec_for(rows, kind, target), out=tmp_path / "run")
    assert made.family == family
    best = {"left": "auc", "spent": "r2", "level": "auc"}[target]
    value = made.metrics["test"].all.metrics[best].value
    assert value is not None
    assert value > (0.5 if target == "spent" else 0.75)
    back = read_run(tmp_path / "run")
    assert back.metrics == made.metrics
    assert back.numbers == ("income", "age", "visits")
    assert back.categories == {"city": ("", "Ajman", "Dubai", "Sharjah")}
    assert np.array_equal(back.candidate().scores(back.training), made.candidate().scores(made.training))
    assert all(np.array_equal(back.predictions[name], made.predictions[name]) for name in made.predictions)


def test_unknown_category_and_missing_numbers_have_scores_when_a_model_is_asked(rows: Path) -> None:
    for kind in KINDS:
        made = fit(spec_for(rows, kind, "left"))
        assert made.tabular is not None
        table = made.training.take(np.arange(4))
        table.categories["city"][:] = ["Paris", "", "Dubai", "Ajman"]
        table.matrix[1] = np.nan
        scores = made.candidate().scores(table)
        assert scores.shape == (4, 2), kind
        assert np.isfinite(scores).all(), kind
        assert made.candidate().scores(table.take(np.arange(0))).shape == (0, 2), kind


def test_sample_has_the_inputs_of_the_served_model_when_asked(run: tuple[Run, Path]) -> None:
    inputs = run[0].sample(10)
    assert {name: (of.shape, of.dtype) for name, of in inputs.items()} == {
        "x": ((10, 3), np.dtype(np.float32)),
        "city": ((10, 1), np.dtype(object)),
    }
    assert len(run[0].sample()["x"]) == run[0].split.sizes["train"]


def test_folder_tells_what_the_run_was_made_of_when_read(run: tuple[Run, Path], rows: Path) -> None:
    told = json.loads((run[1] / "run.json").read_text(encoding="utf-8"))
    assert told["spec"]["data"]["target"] == "left"
    assert told["data"]["files"][0]["path"] == str(rows)
    assert len(told["data"]["files"][0]["sha256"]) == 64
    assert {"python", "numpy", "lightgbm", "falaj", "duckdb"} <= set(told["circumstances"]["versions"])
    assert told["circumstances"]["threads"] == 1
    assert told["split"]["borders"].keys() == {"validation_from", "test_from"}
    assert told["calibration"]["method"] == "sigmoid"
    assert set(told["metrics"]["test"]["segments"]["city"]) == {"", "Ajman", "Dubai", "Sharjah"}
    assert sorted(told["metrics"]["test"]["months"]) == ["2026-02", "2026-03"]
    assert {each.name for each in run[1].iterdir()} == {
        "run.json",
        "model.txt",
        "predictions.parquet",
        "training.parquet",
    }


def test_calibration_makes_the_validation_loss_no_worse_when_it_is_a_sigmoid(rows: Path) -> None:
    losses = []
    for method in ("none", "sigmoid"):
        spec = spec_for(
            rows, "lightgbm", "left", calibration=CalibrationSpec(method), class_weight="balanced"
        )
        losses.append(fit(spec).metrics["validation"].all.metrics["log_loss"].value or 0)
    assert losses[1] < losses[0]


def test_class_weights_raise_the_share_of_a_class_when_it_weighs_more(rows: Path) -> None:
    shares = []
    for weight in ({"1": 1.0}, {"1": 5.0}):
        scores = fit(spec_for(rows, "linear", "left", class_weight=weight)).predictions["score"]
        shares.append((scores > 0.5).mean())
    assert shares[1] > shares[0] + 0.1
    with pytest.raises(TrainingError, match="no class is named 2; there are '0', '1'"):
        fit(spec_for(rows, "linear", "left", class_weight={"2": 1.0}))


def test_run_is_refused_when_its_folder_is_there(run: tuple[Run, Path]) -> None:
    with pytest.raises(TrainingError, match="is there already"):
        fit(run[0].spec, out=run[1])


def test_nothing_is_left_when_a_fit_is_refused(rows: Path, tmp_path: Path) -> None:
    spec = spec_for(rows, "lightgbm", "spent", calibration=CalibrationSpec("sigmoid"))
    with pytest.raises(TrainingError, match="calibration: is for two classes"):
        fit(spec, out=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_library_is_blamed_when_it_refuses_a_parameter(rows: Path) -> None:
    spec = spec_for(rows, "linear", "left")
    bad = TrainSpec(spec.data, model=ModelSpec("linear", {"C": -1.0}))
    with pytest.raises(TrainingError, match=r"model.kind 'linear': InvalidParameterError: .*'C'"):
        fit(bad)


def test_refit_is_refused_when_a_file_has_changed(tmp_path: Path) -> None:
    path = write_customers(tmp_path / "rows.parquet")
    made = fit(spec_for(path, "linear", "left"))
    assert compare(made, refit(made)).differing == 0
    write_customers(path, seed=1)
    with pytest.raises(TrainingError, match=r"rows.parquet: is not what it was"):
        refit(made)


PIPELINE = """
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder
import numpy as np
from falaj.training.fit.spec import DataSpec, ModelSpec, TrainSpec

def filled(frame):
    return np.nan_to_num(frame)

def build(params):
    columns = ColumnTransformer([
        ("n", FunctionTransformer(filled), ["income", "age"]),
        ("c", OneHotEncoder(handle_unknown="ignore"), ["city"]),
    ])
    return make_pipeline(columns, LogisticRegression(C=params["c"]))

spec = TrainSpec(
    DataSpec(PATH, "level", time="when", exclude=("who", "left", "spent")),
    model=ModelSpec("pipeline", {"c": 0.5}), build=build, class_weight="balanced",
)
"""
MODULE = """
import torch
from falaj.training.fit.spec import DataSpec, ModelSpec, TrainSpec

class Net(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(3, width), torch.nn.Linear(width, 2))

    def forward(self, x):
        return self.layers(torch.nan_to_num(x[:, :3]))

spec = TrainSpec(
    DataSpec(PATH, "left", time="when", exclude=("who", "level", "spent")),
    model=ModelSpec("pipeline", {"width": 8, "learning_rate": 0.01}, rounds=10),
    build=lambda params: Net(params["width"]), threads=1,
)
"""


@pytest.mark.parametrize(("text", "family"), [(PIPELINE, "sklearn"), (MODULE, "torch")])
def test_run_is_the_same_when_a_specification_builds_its_model(
    rows: Path, tmp_path: Path, text: str, family: str
) -> None:
    spec = tmp_path / f"made_{family}.py"
    spec.write_text(text.replace("PATH", repr(str(rows))), encoding="utf-8")
    made = fit(read_spec(spec), out=tmp_path / "run")
    spec.unlink()  # the run has its own
    back = read_run(tmp_path / "run")
    assert (back.family, back.tabular is None) == (family, family == "sklearn")
    assert np.array_equal(back.candidate().scores(back.training), made.candidate().scores(made.training))
    assert compare(back, refit(back)).differing == 0
    assert (made.metrics["test"].all.metrics["auc"].value or 0) > 0.8


FRESH = """
import sys
from dataclasses import replace
from pathlib import Path
from tests.training.fit.test_run import KINDS, spec_for
from dataclasses import replace
from falaj.training.fit.run import fit
rows, out = Path(sys.argv[1]), Path(sys.argv[2])
for kind in KINDS:
    for threads in (1, 2):
        fit(replace(spec_for(rows, kind, "left"), threads=threads), out=out / f"{kind}-{threads}")
"""


def test_predictions_are_the_same_bytes_when_fresh_processes_fit(rows: Path, tmp_path: Path) -> None:
    for number in ("1", "2"):
        subprocess.run(
            [sys.executable, "-c", FRESH, str(rows), str(tmp_path / number)],
            env={**os.environ, "PYTHONHASHSEED": number, "OMP_WAIT_POLICY": "passive"},
            cwd=Path(__file__).parents[3],
            check=True,
        )
    names = sorted(each.name for each in (tmp_path / "1").iterdir())
    assert len(names) == 2 * len(KINDS)
    for name in names:
        one, other = ((tmp_path / each / name / "predictions.parquet").read_bytes() for each in "12")
        assert one == other, name


def test_rounds_are_all_there_when_lightgbm_drops_trees(rows: Path) -> None:
    spec = spec_for(rows, "lightgbm", "left")
    dart = replace(spec, model=ModelSpec("lightgbm", {"boosting": "dart"}, rounds=15, patience=2))
    assert fit(dart).rounds == 15

"""A bundle that was exported, optimised: its next version is a bundle like it."""

from pathlib import Path

import numpy as np
import pytest

from falaj import Engine
from falaj.training.bundle.baseline import baseline_of
from falaj.training.bundle.bundle import CardText, Proof, read_bundle, write_bundle
from falaj.training.bundle.bundle_files import verify_bundle
from falaj.training.optimize.bounds import SpeedRules
from falaj.training.optimize.optimize import Truth, optimize
from falaj.training.optimize.rows import read_rows, signature_of
from falaj.training.optimize.version import Target, target_at, write_version
from tests.training.graph.fitted import COLUMNS, Fitted, tumours

_ANY_SPEED = SpeedRules(batches=(1, 4), decisive=(1, 4), least_ratio=0.0, rounds=6, slice_seconds=0.002)


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    return tumours()


@pytest.fixture
def target(tmp_path: Path, fitted: Fitted) -> Target:
    predicted = fitted.original.predict(fitted.rows)
    write_bundle(
        tmp_path,
        "tumours",
        original=fitted.original,
        model=fitted.model,
        baseline=baseline_of(fitted.original, fitted.rows, predicted),
        card=CardText("# tumours\n", "<!doctype html><title>tumours</title>"),
        proof=Proof({"passed": True}, [{"name": "auc", "split": "test", "value": 0.5}]),
    )
    return target_at(tmp_path / "tumours")


def test_next_version_is_a_whole_bundle_when_a_bundle_is_optimized(
    target: Target, tmp_path: Path, fitted: Fitted
) -> None:
    # Columns in an order of their own: the bundle tells where each goes.
    table = np.column_stack([fitted.held["x"][:, ::-1], fitted.held_target])
    header = ",".join([*reversed(COLUMNS), "malign"])
    np.savetxt(tmp_path / "rows.csv", table, fmt="%.9g", delimiter=",", header=header, comments="")
    rows = read_rows(tmp_path / "rows.csv", signature_of(target.file, target.bundle()), "malign")
    np.testing.assert_array_equal(rows.inputs["x"], fitted.held["x"])
    assert rows.labels is not None
    found = optimize(
        target.file,
        rows.inputs,
        Truth(rows.labels, "auc"),
        rules=_ANY_SPEED,
        variants=("graph-basic", "fp16"),
    )
    assert [of.outcome for of in found.report.variants] == ["kept", "not applicable"]
    assert found.model is not None
    made = write_version(target, found.model, found.report)
    assert made == tmp_path / "tumours" / "2"
    assert verify_bundle(made) == ()
    was, became = read_bundle(tmp_path / "tumours" / "1"), read_bundle(made)
    assert became.files["model.onnx"] != was.files["model.onnx"]
    assert {**became.files, "model.onnx": ""} == {**was.files, "model.onnx": ""}
    assert became.model["ir"] == found.model.ir_version
    assert became.model["inputs"] == was.model["inputs"]
    told = target_at(tmp_path / "tumours").bundle()
    assert told is not None
    assert told["optimized"]["original"]["sha256"] == was.files["model.onnx"]
    assert told["optimized"]["variants"][0]["quality"]["loss"]["metric"] == "auc"
    with Engine(tmp_path, cores=1, strict=True, models=["tumours"]) as engine:
        answer = engine.infer("tumours", fitted.held, version=2)
    np.testing.assert_allclose(
        answer["probabilities"], fitted.original.predict(fitted.held)["probabilities"], atol=1e-6
    )

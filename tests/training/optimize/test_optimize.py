"""The whole way with real models. What decides about speed is tested apart; here its rules let all pass."""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from falaj import Engine
from falaj.training.errors import TrainingError
from falaj.training.optimize.bounds import Bounds, SpeedRules
from falaj.training.optimize.candidate import open_candidate
from falaj.training.optimize.optimize import Optimized, Truth, optimize
from falaj.training.optimize.speed import Samples, speeds_of
from tests.zoo.model import build, parse, value
from tests.zoo.nets import conv_net, mlp
from tests.zoo.transformer import transformer_encoder

_ANY_SPEED = SpeedRules(batches=(1, 4), decisive=(1, 4), least_ratio=0.0, rounds=6, slice_seconds=0.002)
_NO_SPEED = SpeedRules(batches=(1,), decisive=(1,), least_ratio=1e9, rounds=6, slice_seconds=0.002)
_WIDE = Bounds(flips=1, mean_error=10, max_error=1000, rank_correlation=0)


def drawn(rows: int, seed: int = 5) -> dict[str, np.ndarray]:
    return conv_net().sample(np.random.default_rng(seed), rows)


@pytest.fixture(scope="module")
def converted() -> Optimized:
    model = parse(conv_net().proto)
    return optimize(model, drawn(96), bounds=_WIDE, rules=_ANY_SPEED, variants=("int8-static",))


def test_variant_is_served_with_the_same_interface_when_it_is_kept(
    converted: Optimized, tmp_path: Path
) -> None:
    assert converted.model is not None
    assert converted.report.kept == "int8-static"
    for version, model in ((1, parse(conv_net().proto)), (2, converted.model)):
        folder = tmp_path / "net" / str(version)
        folder.mkdir(parents=True)
        onnx.save(model, folder / "model.onnx")
    (tmp_path / "net" / "model.toml").write_text('tune_ms = 0\n[versions]\npolicy = "all"\n')
    rows = drawn(7, seed=9)
    with Engine(tmp_path, strict=True) as engine:
        was, became = (engine.describe("net", version) for version in (1, 2))
        assert {k: was[k] for k in ("inputs", "outputs", "batchable")} == {
            k: became[k] for k in ("inputs", "outputs", "batchable")
        }
        original = engine.infer("net", rows, version=1)["scores"]
        variant = engine.infer("net", rows, version=2)["scores"]
        one = engine.infer("net", {"image": rows["image"][:1]}, version=2)["scores"]
        none = engine.infer("net", {"image": rows["image"][:0]}, version=2)["scores"]
    (of,) = converted.report.variants[0].quality.agreement  # type: ignore[union-attr]
    assert of.max_error is not None
    assert 0 < np.abs(variant - original).max() < 2 * of.max_error * original.std()
    np.testing.assert_array_equal(one, variant[:1])
    assert none.shape == (0, 10)


def test_model_tells_what_it_is_a_variant_of_when_it_is_kept(converted: Optimized) -> None:
    assert converted.model is not None
    told = {each.key: each.value for each in converted.model.metadata_props}
    assert told["falaj.variant"] == "int8-static"
    assert told["falaj.original_sha256"] == converted.report.original.sha256
    assert "falaj.only_for" not in told


def test_report_is_json_and_has_every_figure_when_it_is_plain(converted: Optimized) -> None:
    plain = json.loads(json.dumps(converted.report.plain(), allow_nan=False))
    (variant,) = plain["variants"]
    assert (plain["kept"], variant["outcome"]) == ("int8-static", "kept")
    assert (plain["calibration_rows"], plain["evaluation_rows"]) == (24, 72)
    assert [speed["rows"] for speed in variant["speeds"]] == [1, 4]
    assert variant["speeds"][0]["served"]["low"] > 0
    assert variant["quality"]["agreement"][0]["output"] == "scores"
    assert variant["bytes"] < plain["original"]["bytes"] / 3
    assert len(converted.report.csv().splitlines()) == 1 + 2 + 2
    assert converted.report.table().row_count == 2
    assert converted.report.lines()[0].startswith(
        "int8-static: times the original's speed by rows of a batch"
    )


def test_variant_is_rejected_for_quality_when_its_calibration_is_far_off() -> None:
    tiny = {"image": drawn(64)["image"] * np.float32(1e-3)}
    found = optimize(
        parse(conv_net().proto),
        drawn(96),
        calibration=tiny,
        rules=_ANY_SPEED,
        variants=("int8-static", "graph-basic"),
    )
    static, graph = found.report.variants
    assert static.outcome == "rejected"
    assert any("scores: max_error" in reason for reason in static.reasons)
    assert static.quality is not None
    assert (static.quality.worst("mean_error") or 0) > 0.3
    assert (graph.outcome, found.report.kept) == ("kept", "graph-basic")
    assert found.report.evaluation_rows == 96  # none was taken to calibrate with


def test_no_variant_is_kept_when_none_is_fast_enough() -> None:
    rows = mlp().sample(np.random.default_rng(0), 64)
    found = optimize(parse(mlp().proto), rows, rules=_NO_SPEED, variants=("fp16", "int8-static"))
    assert found.model is None
    assert found.report.kept is None
    assert {of.outcome for of in found.report.variants} == {"rejected"}
    assert all(any("speed at 1 row" in reason for reason in of.reasons) for of in found.report.variants)
    assert found.report.lines()[0] == "no variant is worth it: the model is best as it is"


def test_variant_says_for_which_machine_when_it_is_not_portable() -> None:
    rows = mlp().sample(np.random.default_rng(0), 64)
    found = optimize(parse(mlp().proto), rows, rules=_ANY_SPEED, variants=("graph-all",))
    assert found.model is not None
    told = {each.key: each.value for each in found.model.metadata_props}
    assert found.report.machine["cpu"] in told["falaj.only_for"]
    assert found.report.machine["onnxruntime"] in told["falaj.only_for"]


def test_variant_is_timed_alone_when_the_server_would_not_batch_it() -> None:
    model = transformer_encoder()
    rows = model.sample(np.random.default_rng(0), 64)
    found = optimize(parse(model.proto), rows, bounds=_WIDE, rules=_ANY_SPEED, variants=("int8-dynamic",))
    (dynamic,) = found.report.variants
    assert not dynamic.batchable
    assert dynamic.speeds[0].together == dynamic.speeds[0].served


def test_cost_is_of_rows_alone_when_they_are_not_batched() -> None:
    original = {1: Samples((4.0,) * 6, (0.25,) * 6), 8: Samples((1.0,) * 6, (1.0,) * 6)}
    variant = {1: Samples((2.0,) * 6, (0.5,) * 6), 8: Samples((0.5,) * 6, (2.0,) * 6)}
    batched, alone = (speeds_of(variant, original, batchable, 0.95) for batchable in (True, False))
    assert [speed.together.median for speed in alone if speed.together] == [2.0, 2.0]
    assert [speed.served.median for speed in batched if speed.served] == [2.0, 2.0]
    assert [speed.served.median for speed in alone if speed.served] == [2.0, 0.5]
    assert [speed.rate for speed in alone] == [0.5, 2.0]


def test_loss_is_measured_when_the_truth_is_given(tmp_path: Path) -> None:
    rows = mlp().sample(np.random.default_rng(0), 96)
    onnx.save(parse(mlp().proto), tmp_path / "model.onnx")
    answers = open_candidate(tmp_path / "model.onnx", tmp_path / "repository").answers(rows)["y"]
    truth = Truth(answers.argmax(axis=1), "accuracy")
    found = optimize(parse(mlp().proto), rows, truth, rules=_ANY_SPEED, variants=("fp16",))
    quality = found.report.variants[0].quality
    assert quality is not None
    assert quality.loss is not None
    assert quality.loss.original == 1.0
    assert quality.loss.variant == 1 - (quality.worst("flips") or 0)


def test_progress_ends_at_the_whole_when_told() -> None:
    shares: list[float] = []
    rows = mlp().sample(np.random.default_rng(0), 64)
    optimize(parse(mlp().proto), rows, rules=_NO_SPEED, variants=("fp16",), tell=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)


def test_rows_are_refused_when_they_are_not_the_models() -> None:
    model, x = parse(mlp().proto), np.zeros((64, 32), np.float32)
    for rows, told in (
        ({"z": x}, "rows: expected x, got z"),
        ({"x": x[:, :5]}, r"input 'x': expected FP32 \[-1, 32\], got float32 \[64, 5\]"),
        ({"x": x.astype(np.float64)}, r"expected FP32 \[-1, 32\], got float64"),
        ({"x": x[:63]}, "rows: expected 64 at least, got 63"),
    ):
        with pytest.raises(TrainingError, match=told):
            optimize(model, rows, variants=("fp16",))
    with pytest.raises(TrainingError, match=r"labels: expected \[64\]"):
        optimize(model, {"x": x}, Truth(np.zeros(3), "accuracy"))
    with pytest.raises(TrainingError, match="variants: expected some of graph-basic"):
        optimize(model, {"x": x}, variants=("int4",))


def test_variant_is_rejected_when_it_makes_numbers_of_what_is_none() -> None:
    """INT8 has no NaN: where the original says that it does not know, the variant makes something up."""
    rows = mlp().sample(np.random.default_rng(0), 96)
    rows["x"][::3, 0] = np.nan
    found = optimize(parse(mlp().proto), rows, bounds=_WIDE, rules=_ANY_SPEED, variants=("int8-static",))
    (static,) = found.report.variants
    assert static.outcome == "rejected"
    assert "y: max_error inf, expected 1000 at most" in static.reasons
    json.dumps(found.report.plain(), allow_nan=False)


def test_metric_is_refused_before_variants_are_made_when_no_output_is_the_one() -> None:
    rows = mlp(sizes=(32, 64, 3)).sample(np.random.default_rng(0), 64)
    shares: list[float] = []
    with pytest.raises(TrainingError, match="metric auc: expected one output that it can be of"):
        optimize(
            parse(mlp(sizes=(32, 64, 3)).proto), rows, Truth(np.arange(64) % 2, "auc"), tell=shares.append
        )
    assert shares == []


def test_missing_package_is_named_when_it_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(TrainingError, match=r"pip install 'falaj\[training\]'"):
        optimize(Path("model.onnx"), {})


def test_model_is_refused_when_it_has_no_rows_or_is_none(tmp_path: Path) -> None:
    fixed = parse(mlp(batch=4).proto)
    with pytest.raises(TrainingError, match="expected a variable first dimension"):
        optimize(fixed, {"x": np.zeros((64, 32), np.float32)})
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(TrainingError, match=r"model\.onnx: expected an ONNX model"):
        optimize(tmp_path / "model.onnx", {"x": np.zeros((64, 32), np.float32)})


def test_only_one_row_is_measured_when_the_original_is_not_batched() -> None:
    """Softmax over the rows: each answer depends on the others."""
    from onnx import helper

    weights = {"w": np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["p"]), helper.make_node("Softmax", ["p"], ["y"], axis=0)]
    model = build("over_rows", nodes, [value("x", "FP32", ["n", 8])], [value("y", "FP32", ["n", 4])], weights)
    rows = {"x": np.random.default_rng(1).standard_normal((64, 8)).astype(np.float32)}
    found = optimize(model, rows, rules=_ANY_SPEED, variants=("graph-basic",))
    assert not found.report.original.batchable
    assert [speed.rows for speed in found.report.original.speeds] == [1]
    assert found.report.rules.decisive == (1,)

"""The zoo's own tests: every model loads, answers, and is what it says it is."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
import pytest

from tests import zoo
from tests.zoo.datatypes import DATATYPES, numpy_dtype
from tests.zoo.model import Arrays, ZooModel, build, serialise, value
from tests.zoo.random_models import BINARY, LAST, UNARY, RowTensor, apply
from tests.zoo.strings import UNKNOWN_ID, VOCABULARY

BUILDERS: dict[str, Callable[[], ZooModel]] = {
    "mlp": zoo.mlp,
    "mlp_static": lambda: zoo.mlp((8, 16, 3), batch=4),
    "conv_net": zoo.conv_net,
    "transformer_encoder": zoo.transformer_encoder,
    "trees_sklearn": zoo.trees_gbdt,
    "trees_lightgbm": lambda: zoo.trees_gbdt("lightgbm"),
    "tokens": zoo.tokens,
    "tokens_to_ids": zoo.tokens_to_ids,
    "mean_over_batch": zoo.mean_over_batch,
    "sequence_first_cumsum": zoo.sequence_first,
    "sequence_first_attention": lambda: zoo.sequence_first("attention"),
    "scalar_output": zoo.scalar_output,
    "nonzero_rows": zoo.nonzero_rows,
    "fixed_batch4": zoo.fixed_batch4,
    "no_batch": zoo.no_batch,
    "gather_bad_index": zoo.gather_bad_index,
    "loop_n": zoo.loop_n,
}
SEEDS = range(60)


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def assert_same(actual: Arrays, expected: Arrays) -> None:
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        assert (actual[name].dtype, actual[name].shape) == (array.dtype, array.shape), name
        if array.dtype.kind in "fV":  # V: bfloat16
            a, b = actual[name].astype(np.float64), array.astype(np.float64)
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5, err_msg=name)
        else:
            np.testing.assert_array_equal(actual[name], array, err_msg=name)


def row_by_row(session: zoo.Reference, inputs: Arrays) -> Arrays:
    rows = len(next(iter(inputs.values())))
    answers = [session.run({name: array[i : i + 1] for name, array in inputs.items()}) for i in range(rows)]
    return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}


def check(model: ZooModel) -> None:
    """Load, run, compare with what is declared, and, if the model is batchable, a batch with its rows."""
    onnx_bytes = serialise(model.proto)
    if model.folder is None:
        onnxruntime.InferenceSession(onnx_bytes, providers=["CPUExecutionProvider"])
    session = zoo.Reference(model)
    inputs = model.sample(rng(), 5)
    for spec in model.inputs:
        array = inputs[spec.name]
        assert array.dtype == numpy_dtype(spec.datatype)
        assert array.ndim == len(spec.shape)
        assert all(declared in (-1, size) for declared, size in zip(spec.shape, array.shape, strict=True))
    outputs = session.run(inputs)
    for spec in model.outputs:
        array = outputs[spec.name]
        assert array.dtype == numpy_dtype(spec.datatype)
        assert array.ndim == len(spec.shape)
        assert all(declared in (-1, size) for declared, size in zip(spec.shape, array.shape, strict=True))
    if model.batchable:
        assert all(len(array) == 5 for array in (*inputs.values(), *outputs.values()))
        assert_same(row_by_row(session, inputs), outputs)


@pytest.mark.parametrize("builder", BUILDERS.values(), ids=BUILDERS.keys())
def test_model_answers_as_declared_when_built(builder: Callable[[], ZooModel]) -> None:
    check(builder())


@pytest.mark.parametrize("builder", BUILDERS.values(), ids=BUILDERS.keys())
def test_builder_gives_same_bytes_when_called_again(builder: Callable[[], ZooModel]) -> None:
    first, second = builder(), builder()
    assert serialise(first.proto) == serialise(second.proto)
    assert_same(first.sample(rng(), 3), second.sample(rng(), 3))


def test_builder_names_are_distinct_when_saved_together() -> None:
    names = [builder().name for builder in BUILDERS.values()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("inputs", [1, 2, 3, 4])
@pytest.mark.parametrize("datatype", DATATYPES)
def test_identity_returns_its_inputs_when_run(datatype: str, inputs: int) -> None:
    model = zoo.identity(datatype, inputs, seed=inputs)
    check(model)
    arrays = model.sample(rng(), 3)
    answers = zoo.reference(model, arrays)
    assert len(arrays) == inputs
    assert_same(answers, {name.replace("x", "y"): array for name, array in arrays.items()})


@pytest.mark.parametrize("datatype", DATATYPES)
def test_elementwise_computes_sum_when_run(datatype: str) -> None:
    model = zoo.elementwise(datatype)
    check(model)
    arrays = model.sample(rng(), 3)
    a, b = arrays["a"], arrays["b"]
    expected = a ^ b if datatype == "BOOL" else a + b
    assert_same(zoo.reference(model, arrays), {"y": expected, "joined": np.concatenate([a, b], axis=-1)})


@pytest.mark.parametrize("op_type", [*UNARY, *BINARY])
def test_operator_has_kernel_when_listed_for_datatype(op_type: str) -> None:
    for datatype in {**UNARY, **BINARY}[op_type]:
        first, second = RowTensor("a", datatype, (2, 3)), RowTensor("b", datatype, (2, 3))
        node, out = apply(op_type, first, second, "y")
        inputs = [value(t.name, t.datatype, ["batch", *t.row]) for t in (first, second)]
        last = LAST if op_type == "ReduceMax" else {}
        proto = build("probe", [node], inputs, [value("y", out.datatype, ["batch", *out.row])], last)
        onnxruntime.InferenceSession(serialise(proto), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("seed", SEEDS)
def test_random_model_answers_as_declared_when_drawn(seed: int) -> None:
    model = zoo.random_model(rng(seed))
    check(model)
    assert serialise(model.proto) == serialise(zoo.random_model(rng(seed)).proto)


def test_random_models_cover_the_space_when_many_seeds_are_drawn() -> None:
    models = [zoo.random_model(rng(seed)) for seed in SEEDS]
    specs = [spec for model in models for spec in model.inputs]
    assert {spec.datatype for spec in specs} == set(DATATYPES)
    assert {len(model.inputs) for model in models} == {1, 2, 3, 4}
    assert {len(model.outputs) for model in models} == {1, 2, 3}
    assert {model.batchable for model in models} == {True, False}
    assert {len(spec.shape) for spec in specs} == {1, 2, 3, 4}
    assert {-1 in spec.shape[1:] for spec in specs} == {True, False}
    assert any(len({spec.datatype for spec in model.inputs}) == len(model.inputs) == 4 for model in models)


def test_conv_net_costs_what_it_says_when_counted() -> None:
    assert 99.9e6 < zoo.flop_per_row(zoo.conv_net().proto) <= 100e6
    assert 199.9e6 < zoo.flop_per_row(zoo.conv_net(200).proto) <= 200e6
    assert zoo.flop_per_row(zoo.mlp().proto) == 2 * (32 * 64 + 64 * 64 + 64 * 2)
    with pytest.raises(ValueError, match="at least"):
        zoo.conv_net(1)


def test_transformer_keeps_real_positions_when_padded_further() -> None:
    model = zoo.transformer_encoder()
    session = zoo.Reference(model)
    inputs = model.sample(rng(3), 4)
    padded = {name: np.pad(array, ((0, 0), (0, 7))) for name, array in inputs.items()}
    padded["token_ids"][:, -7:] = 42  # what stands under the mask must not matter
    short, long = session.run(inputs), session.run(padded)
    real = inputs["attention_mask"].astype(bool)
    assert 0 < real.mean() < 1
    np.testing.assert_allclose(
        long["last_hidden"][:, : real.shape[1]][real], short["last_hidden"][real], atol=1e-5
    )
    np.testing.assert_allclose(long["pooled"], short["pooled"], atol=1e-5)


def test_lightgbm_label_contradicts_its_shape_when_taken_as_converted() -> None:
    model = zoo.trees_gbdt("lightgbm", as_converted=True)
    out = zoo.reference(model, model.sample(rng(), 5))
    assert model.outputs[0].shape == (1,)
    assert out["label"].shape == (5,)


@pytest.mark.parametrize("library", ["sklearn", "lightgbm"])
def test_trees_label_is_the_likelier_class_when_run(library: Literal["sklearn", "lightgbm"]) -> None:
    model = zoo.trees_gbdt(library)
    out = zoo.reference(model, model.sample(rng(), 50))
    np.testing.assert_array_equal(out["label"], out["probabilities"].argmax(axis=1))
    np.testing.assert_allclose(out["probabilities"].sum(axis=1), 1, atol=1e-5)
    assert set(out["label"]) == {0, 1}


def test_tokens_to_ids_finds_the_vocabulary_when_words_are_known() -> None:
    words = np.array([[word.encode(), b"zzz"] for word in VOCABULARY], dtype=np.object_)
    out = zoo.reference(zoo.tokens_to_ids(), {"token": words})
    assert out["id"].tolist() == [[i, UNKNOWN_ID] for i in range(len(VOCABULARY))]
    assert out["next"][0].tolist() == [VOCABULARY[1].encode(), b"?"]


def test_tokens_sample_holds_awkward_bytes_when_drawn() -> None:
    drawn = set(zoo.tokens().sample(rng(), 100)["text"].ravel())
    assert b"" in drawn
    assert any(max(item, default=0) > 127 for item in drawn)
    assert any(b"\x00" in item for item in drawn)


@pytest.mark.parametrize(
    "name", ["mean_over_batch", "sequence_first_cumsum", "sequence_first_attention", "nonzero_rows"]
)
def test_rows_differ_alone_and_together_when_model_mixes_them(name: str) -> None:
    model = BUILDERS[name]()
    assert all(spec.shape[0] == -1 for spec in (*model.inputs, *model.outputs))
    assert not model.batchable
    session, inputs = zoo.Reference(model), model.sample(rng(), 6)
    together = session.run(inputs)["y"]
    if name == "nonzero_rows":
        assert together.shape[0] == (inputs["x"].sum(axis=1) > 0).sum() not in (0, 6)
    else:
        assert not np.allclose(together, row_by_row(session, inputs)["y"], atol=1e-2)


@pytest.mark.parametrize(("name", "shape"), [("fixed_batch4", (4, 3)), ("no_batch", (3,))])
def test_fixed_model_refuses_other_rows_when_run(name: str, shape: tuple[int, ...]) -> None:
    model = BUILDERS[name]()
    session, inputs = zoo.Reference(model), model.sample(rng(), 9)
    assert inputs["x"].shape == shape == session.run(inputs)["y"].shape
    with pytest.raises(Exception, match="INVALID_ARGUMENT"):
        session.run({"x": np.concatenate([inputs["x"], inputs["x"]])})


def test_gather_fails_the_run_when_one_index_is_out_of_range() -> None:
    session = zoo.Reference(zoo.gather_bad_index())
    assert session.run({"index": np.array([[3], [-1]])})["y"].tolist() == [[30, 31, 32, 33], [90, 91, 92, 93]]
    for bad in (10, -11):
        with pytest.raises(Exception, match=r"INVALID_ARGUMENT|out of"):
            session.run({"index": np.array([[3], [bad]])})


def test_loop_takes_longer_when_n_grows() -> None:
    session = zoo.Reference(zoo.loop_n())

    def seconds(n: int) -> float:
        start = time.perf_counter()
        assert session.run({"n": np.array([[1], [n]])})["done"].tolist() == [[1], [n]]
        return time.perf_counter() - start

    seconds(1)
    assert seconds(1000) >= 0.1
    assert seconds(1000) > 3 * seconds(100)


def test_external_data_answers_when_its_file_is_beside_it(tmp_path: Path) -> None:
    model = zoo.external_data(tmp_path / "a")
    assert model.folder == tmp_path / "a" / "external_data" / "1"
    check(model)
    copy = zoo.save(model, tmp_path / "b", version=7)
    assert sorted(path.name for path in copy.iterdir()) == ["model.onnx", "weights.bin"]
    inputs = model.sample(rng(), 2)
    assert_same(zoo.reference(copy / "model.onnx", inputs), zoo.reference(model, inputs))
    (copy / "weights.bin").unlink()
    with pytest.raises(Exception, match=r"weights\.bin"):
        zoo.reference(copy / "model.onnx", inputs)


def test_save_writes_a_version_folder_when_given_a_model(tmp_path: Path) -> None:
    model = zoo.mlp()
    target = zoo.save(model, tmp_path, version=2)
    assert target == tmp_path / "mlp" / "2"
    inputs = model.sample(rng(), 2)
    assert_same(zoo.reference(target / "model.onnx", inputs), zoo.reference(model, inputs))

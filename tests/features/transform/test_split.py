"""A matrix with some columns apart: the model answers as before, and transforms can give them."""

import itertools

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto

from falaj.features.errors import DefinitionError
from falaj.features.transform import transform
from falaj.features.transform.fuse import fuse
from falaj.features.transform.split import split_matrix

_COLUMNS = ("a", "b", "c")


def _model() -> ModelProto:
    """Weighs its columns otherwise each, in an inner graph too."""
    return onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]>
        weigh (float[rows, 3] x, bool doubled) => (float[rows, 1] y)
        <float[3, 1] weights = {1.0, 10.0, 100.0}, float two = {2.0}>
        {
            plain = MatMul(x, weights)
            y = If(doubled) <
                then_branch = twice () => (float[rows, 1] more) { z = MatMul(x, weights) more = Mul(z, two) },
                else_branch = once () => (float[rows, 1] same) { same = Identity(plain) }
            >
        }"""
    )


def _run(model: ModelProto, inputs: dict[str, np.ndarray]) -> list[float]:
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, inputs)
    return [float(value) for value in answer.ravel()]


@pytest.mark.parametrize(
    "apart", [each for size in range(4) for each in itertools.permutations(_COLUMNS, size)], ids="-".join
)
@pytest.mark.parametrize("doubled", [False, True])
def test_model_answers_as_before_when_columns_are_apart(apart: tuple[str, ...], doubled: bool) -> None:
    split, rest = split_matrix(_model(), "x", _COLUMNS, apart)
    assert rest == tuple(each for each in _COLUMNS if each not in apart)
    rows = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    columns = dict(zip(_COLUMNS, rows.T[:, :, None], strict=True))
    inputs = {name: columns[name] for name in apart}
    if rest:
        inputs["x"] = np.concatenate([columns[name] for name in rest], axis=1)
    assert {each.name for each in split.graph.input} == {*inputs, "doubled"}
    expected = [321.0, 654.0] if not doubled else [642.0, 1308.0]
    assert _run(split, {**inputs, "doubled": np.array(doubled)}) == expected


def test_transform_gives_a_column_when_it_is_apart() -> None:
    @transform(inputs={"amount": "FP32"}, outputs={"b": "FP32"})
    def half(xp, amount):  # type: ignore[no-untyped-def]
        return amount * 0.5

    split, rest = split_matrix(_model(), "x", _COLUMNS, list(half.outputs))
    assert rest == ("a", "c")
    fused = fuse(split, [half])
    inputs = {"x": np.array([[1, 3]], np.float32), "amount": np.array([[4]], np.float32)}
    assert _run(fused, {**inputs, "doubled": np.array(False)}) == [321.0]


@pytest.mark.parametrize(
    ("name", "columns", "apart", "complaint"),
    [
        ("z", _COLUMNS, ["a"], "matrix 'z': the model's inputs are x, doubled"),
        ("x", ["a", "b"], ["a"], "matrix 'x': expected shape [rows, 2]"),
        ("doubled", ["a"], ["a"], "matrix 'doubled': expected shape [rows, 1]"),
        ("x", _COLUMNS, ["d"], "matrix 'x': has no column 'd', it has: a, b, c"),
    ],
)
def test_split_is_refused_when_it_does_not_fit(
    name: str, columns: list[str], apart: list[str], complaint: str
) -> None:
    with pytest.raises(DefinitionError) as refused:
        split_matrix(_model(), name, columns, apart)
    assert str(refused.value) == complaint

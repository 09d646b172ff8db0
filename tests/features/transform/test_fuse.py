"""A model with its transforms in front answers as the model does on what NumPy makes of the columns."""

import json
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, parser

from falaj.features import DefinitionError
from falaj.features.transform import transform
from falaj.features.transform.fuse import fuse
from tests.features.transform.served import answer, assert_same_bits, column, passing


@transform({"amount": "FP64", "income": "FP32"}, {"share": "FP32"})
def share(xp: Any, amount: Any, income: Any) -> Any:
    return xp.astype(amount / xp.astype(income, xp.float64), xp.float32)


@transform({"share": "FP32", "city": "BYTES"}, {"risk": "FP32", "near": "BOOL"})
def risk(xp: Any, share: Any, city: Any) -> Any:
    return xp.exp(-share), city == "Dubai"


def _model(text: str, opset: int = 13) -> ModelProto:
    return parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> g {text}')


_MATRIX = (
    "(float[n, 3] x) => (float[n, 2] y) <float[3, 2] w = {1.0, 0.5, 2.0, 3.0, 0.1, 7.0}> { y = MatMul(x, w) }"
)
_NAMED = "(float[n, 1] share, float[n, 1] age) => (float[n, 1] y) { y = Add(share, age) }"


def _columns(rows: int = 50) -> dict[str, Any]:
    floats = {name: column("FP32", rows, seed) for seed, name in enumerate(("income", "age"))}
    return {**floats, "amount": column("FP64", rows, 7), "city": column("BYTES", rows, 8)}


@pytest.mark.parametrize("rows", [0, 1, 50])
@pytest.mark.parametrize("opset", [13, 15, 18, 21, 23])
def test_matrix_is_of_the_columns_in_their_order_when_fused(rows: int, opset: int) -> None:
    model, columns = _model(_MATRIX, opset), _columns(rows)
    if opset > 18:
        model.ir_version = 11
    fused = fuse(model, [share], {"x": ["age", "share", "income"]})
    assert [info.name for info in fused.graph.input] == ["amount", "income", "age"]
    trained = share(amount=columns["amount"], income=columns["income"])["share"]
    x = np.stack([columns["age"], trained, columns["income"]], axis=1)
    assert_same_bits(_run(model, {"x": x}), answer(fused, columns))


def test_named_inputs_are_fed_and_the_others_stay_when_fused() -> None:
    model, columns = _model(_NAMED), _columns()
    fused = fuse(model, [share])
    assert [info.name for info in fused.graph.input] == ["amount", "income", "age"]
    trained = share(amount=columns["amount"], income=columns["income"])
    assert_same_bits(answer(model, columns | trained), answer(fused, columns))


def test_transform_takes_what_an_earlier_one_gives_when_fused() -> None:
    columns = _columns()
    model = passing({"risk": "FP32", "near": "BOOL"})
    fused = fuse(model, [share, risk])
    first = share(amount=columns["amount"], income=columns["income"])
    second = risk(share=first["share"], city=columns["city"])
    assert_same_bits({f"{name}_out": of for name, of in second.items()}, answer(fused, columns))
    (told,) = fused.metadata_props
    assert told.key == "falaj.transforms"
    assert json.loads(told.value) == {"share": share.identity, "risk": risk.identity}


def test_model_is_left_alone_when_fused() -> None:
    model = _model(_NAMED)
    before = model.SerializeToString()
    fuse(model, [share])
    assert model.SerializeToString() == before


@pytest.mark.parametrize(
    ("text", "opset", "matrices", "error"),
    [
        (_MATRIX, 13, {}, "column 'share', an output of transform 'share': nothing takes it"),
        (_MATRIX, 13, {"z": ["share"]}, "matrix 'z': the model's inputs are x"),
        (_MATRIX, 13, {"x": ["share"]}, r"matrix 'x': expected shape \[rows, 1\], got \[n, 3\]"),
        (_MATRIX, 13, {"x": ["share", "amount", "age"]}, "column 'amount': expected FP32, got FP64"),
        (_MATRIX, 13, {"x": ["share", "w", "age"]}, "column 'w': the model has a tensor of this name"),
        (_MATRIX, 12, {"x": ["share", "age", "b"]}, "expected ai.onnx 13 or newer, got 12"),
        (
            _NAMED.replace("float[n, 1] share", "double[n, 1] share"),
            13,
            {},
            "'share': expected FP64, got FP32",
        ),
        (
            _NAMED.replace("1] share", "4] share"),
            13,
            {},
            r"expected shape \[rows\] or \[rows, 1\], got \[n, 4\]",
        ),
    ],
)
def test_fusing_says_what_does_not_fit_when_it_cannot(
    text: str, opset: int, matrices: dict[str, list[str]], error: str
) -> None:
    with pytest.raises(DefinitionError, match=error):
        fuse(_model(text, opset), [share], matrices)


def test_fusing_says_so_when_the_model_is_too_old_to_compare_text() -> None:
    near = transform({"city": "BYTES"}, {"near": "BOOL"})(lambda xp, city: city == "Dubai")
    with pytest.raises(DefinitionError, match=r"compares BYTES, .* of ai\.onnx 19"):
        fuse(passing({"near": "BOOL"}, opset=17), [near])


def _run(model: ModelProto, given: dict[str, Any]) -> dict[str, Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [info.name for info in session.get_outputs()]
    return dict(zip(names, session.run(names, given), strict=True))

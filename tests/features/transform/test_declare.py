"""What a transform may be, and how it is told that it may not."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from falaj.features import DataError, DefinitionError
from falaj.features.transform import Transform, transform


def _of(function: Callable[..., Any], **inputs: str) -> Transform:
    return transform(inputs or {"a": "FP32"}, {"y": "FP32"})(function)


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (lambda xp, a: xp.sum(a), "xp.sum: looks at other rows"),
        (lambda xp, a: xp.log(a), "xp.log: NumPy and ONNX Runtime round it differently"),
        (lambda xp, a: a**2, "xp.pow: .*write x \\* x"),
        (lambda xp, a: xp.gamma(a), "xp.gamma: it is not among those proved equal: abs, add"),
        (lambda xp, a: a.sum(), "an array has no .sum here"),
        (lambda xp, a: np.exp(a), "NumPy's own functions are not written down"),
        (lambda xp, a: a if a > 0 else -a, "use xp.where"),
        (lambda xp, a: a[0], "cannot pick rows"),
        (lambda xp, a: a // 2, "xp.floor_divide: expected INT8, .* got FP32"),
        (lambda xp, a: xp.astype(a, "INT32") // 0, "expected a positive int as divisor, got 0"),
        (lambda xp, a: a + xp.astype(a, "FP64"), "expected one datatype, got FP32 and FP64"),
        (lambda xp, a: a + "1", "xp.add: expected FP32, got '1'"),
        (lambda xp, a: xp.where(a, a, 0.0), "condition: expected BOOL, got FP32"),
        (lambda xp, a: xp.exp(xp.astype(a, "FP64")), "xp.exp: expected FP32, got FP64"),
        (lambda xp, a: a > 0, "output 'y': expected FP32, got BOOL"),
        (lambda xp, a: (a, a), "expected 1 outputs, got 2"),
        (lambda xp, a: 1.0, "output 'y': expected a column, got 1.0"),
        (lambda a: a, "expected the parameters xp, a, got a"),
    ],
)
def test_declaration_says_what_is_wrong_when_it_cannot_be_equal(
    function: Callable[..., Any], error: str
) -> None:
    with pytest.raises(DefinitionError, match=error):
        _of(function)


def test_declaration_is_refused_when_an_input_decides_nothing() -> None:
    with pytest.raises(DefinitionError, match="input 'b' decides nothing"):
        _of(lambda xp, a, b: a, a="FP32", b="FP32")


def test_identity_is_the_same_when_only_the_source_differs() -> None:
    def longer(xp: Any, a: Any) -> Any:
        unused = xp.sqrt(a)
        del unused
        doubled = xp.multiply(a, 2.0)
        return xp.add(doubled, 1)

    assert _of(longer).identity == _of(lambda xp, a: a * 2 + 1.0).identity


def test_identity_differs_when_a_bit_of_a_constant_does() -> None:
    assert _of(lambda xp, a: a + 0.0).identity != _of(lambda xp, a: a + -0.0).identity


@pytest.mark.parametrize(
    ("columns", "error"),
    [
        ({}, "expected the columns a, got none"),
        ({"a": np.zeros(2)}, "input 'a': expected FP32, got an array of float64"),
        ({"a": np.zeros((2, 1), np.float32)}, "expected shape \\[rows\\], got \\[2, 1\\]"),
    ],
)
def test_run_says_what_does_not_fit_when_columns_are_others(columns: dict[str, Any], error: str) -> None:
    with pytest.raises(DataError, match=error):
        _of(lambda xp, a: a)(**columns)


def test_run_says_which_row_when_it_is_no_text() -> None:
    made = transform({"s": "BYTES"}, {"y": "BOOL"})(lambda xp, s: s == "Dubai")
    with pytest.raises(DataError, match="input 's': row 1: expected a str, got None"):
        made(s=np.array(["Dubai", None], object))


def test_run_says_so_when_columns_differ_in_length() -> None:
    made = _of(lambda xp, a, b: a + b, a="FP32", b="FP32")
    with pytest.raises(DataError, match="input 'b': expected 2 rows, as 'a' has, got 1"):
        made(a=np.zeros(2, np.float32), b=np.zeros(1, np.float32))

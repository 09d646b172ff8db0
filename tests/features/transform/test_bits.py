"""Training on NumPy and serving on ONNX Runtime give the same bits."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from falaj.features.transform import transform
from falaj.features.transform.kernel import BY_ONNX_RUNTIME, run_kernel
from falaj.features.transform.program import ANY, FLOATS, INTEGERS, NUMBERS, SIGNED
from tests.features.transform.served import assert_same_bits, column, edges, served

_ONE = {
    **dict.fromkeys(("abs", "sign", "square", "positive"), NUMBERS),
    "negative": (*FLOATS, *SIGNED),
    **dict.fromkeys(("sqrt", "floor", "ceil", "round", "trunc", "reciprocal"), FLOATS),
    **dict.fromkeys(("isnan", "isinf", "isfinite"), FLOATS),
    **dict.fromkeys(BY_ONNX_RUNTIME, ("FP32",)),
    "logical_not": ("BOOL",),
}
_TWO = {
    **dict.fromkeys(("add", "subtract", "multiply", "minimum", "maximum"), NUMBERS),
    "divide": FLOATS,
    **dict.fromkeys(("less", "less_equal", "greater", "greater_equal"), NUMBERS),
    **dict.fromkeys(("equal", "not_equal"), ANY),
    **dict.fromkeys(("logical_and", "logical_or", "logical_xor"), ("BOOL",)),
}
_TESTS = ("is", "logical", "less", "greater", "equal", "not_equal")
_DIVISORS = (1, 2, 3, 7, 100, 127)


def _cases(table: dict[str, tuple[str, ...]]) -> list[tuple[str, str]]:
    return [(name, datatype) for name, datatypes in table.items() for datatype in datatypes]


def _check(function: Callable[..., Any], outputs: dict[str, str], **columns: tuple[str, Any]) -> None:
    made = transform({name: of for name, (of, _) in columns.items()}, outputs)(function)
    given_columns = {name: values for name, (_, values) in columns.items()}
    trained = made(**given_columns)
    for optimized in (True, False):
        assert_same_bits(trained, served(made, given_columns, optimized))


def _gives(name: str, datatype: str) -> str:
    return "BOOL" if name.startswith(_TESTS) else datatype


@pytest.mark.parametrize(("name", "datatype"), _cases(_ONE))
def test_operation_of_one_column_gives_the_same_bits_when_served(name: str, datatype: str) -> None:
    _check(
        lambda xp, a: getattr(xp, name)(a),
        {"y": _gives(name, datatype)},
        a=(datatype, column(datatype, 4000, 1)),
    )


@pytest.mark.parametrize(("name", "datatype"), _cases(_TWO))
def test_operation_of_two_columns_gives_the_same_bits_when_served(name: str, datatype: str) -> None:
    a, b = column(datatype, 4000, 1), column(datatype, 4000, 2)
    _check(
        lambda xp, a, b: getattr(xp, name)(a, b),
        {"y": _gives(name, datatype)},
        a=(datatype, a),
        b=(datatype, b),
    )


@pytest.mark.parametrize(("name", "datatype"), _cases(_TWO))
def test_operation_gives_the_same_bits_when_an_operand_is_a_constant(name: str, datatype: str) -> None:
    constants = edges(datatype)
    outputs = {f"{side}{at}": _gives(name, datatype) for side in "lr" for at in range(len(constants))}

    def both_sides(xp: Any, a: Any) -> Any:
        of = getattr(xp, name)
        return (*(of(c, a) for c in constants), *(of(a, c) for c in constants))

    _check(both_sides, outputs, a=(datatype, column(datatype, 400, 3)))


@pytest.mark.parametrize("datatype", INTEGERS)
def test_whole_division_gives_the_same_bits_when_the_divisor_is_written_down(datatype: str) -> None:
    outputs = {f"{kind}{by}": datatype for kind in "qr" for by in _DIVISORS}

    def divide(xp: Any, a: Any) -> Any:
        return (*(a // by for by in _DIVISORS), *(a % by for by in _DIVISORS))

    values = column(datatype, 2000, 4)
    _check(divide, outputs, a=(datatype, values))
    trained = transform({"a": datatype}, outputs)(divide)(a=values)
    for by in _DIVISORS:
        assert (trained[f"q{by}"] == values // values.dtype.type(by)).all()
        assert (trained[f"r{by}"] == values % values.dtype.type(by)).all()


@pytest.mark.parametrize("datatype", ANY)
def test_choice_gives_the_same_bits_when_it_is_of_columns_and_constants(datatype: str) -> None:
    def choose(xp: Any, c: Any, a: Any, b: Any) -> Any:
        return (xp.where(c, a, b), *(xp.where(c, a, v) for v in values), *(xp.where(c, v, a) for v in values))

    values = edges(datatype)
    outputs = {f"y{at}": datatype for at in range(1 + 2 * len(values))}
    a, b = column(datatype, 400, 5), column(datatype, 400, 6)
    _check(choose, outputs, c=("BOOL", column("BOOL", 400, 7)), a=(datatype, a), b=(datatype, b))


@pytest.mark.parametrize("datatype", [*NUMBERS, "BOOL"])
def test_conversion_gives_the_same_bits_when_it_is_to_any_other(datatype: str) -> None:
    targets = [*NUMBERS, "BOOL"]
    _check(
        lambda xp, a: tuple(xp.astype(a, of) for of in targets),
        {f"to_{of.lower()}": of for of in targets},
        a=(datatype, column(datatype, 4000, 8)),
    )


@pytest.mark.parametrize("name", BY_ONNX_RUNTIME)
def test_kernel_gives_a_value_the_same_bits_when_it_stands_elsewhere_in_the_batch(name: str) -> None:
    values = column("FP32", 5000, 9)
    whole = run_kernel(BY_ONNX_RUNTIME[name], values)
    for start in range(9):
        for rows in (0, 1, 2, 3, 5, 7, 8, 15, 16, 17, 31, 33, 1001, 4097):
            part = run_kernel(BY_ONNX_RUNTIME[name], values[start : start + rows].copy())
            assert_same_bits({"y": part}, {"y": whole[start : start + rows]})


def _grow(xp: Any, pool: list[Any], data: st.DataObject) -> None:
    """Add to the pool the result of an operation on some of it."""
    first = data.draw(st.sampled_from(pool))
    fitting = [name for name, of in (_ONE | _TWO).items() if first.dtype in of]
    name = data.draw(st.sampled_from([*fitting, "where", "astype"]))
    alike = [array for array in pool if array.dtype == first.dtype]
    second = data.draw(st.sampled_from(alike) | st.sampled_from(edges(first.dtype)))
    if name == "where":
        condition = data.draw(st.sampled_from([array for array in pool if array.dtype == "BOOL"]))
        pool.append(xp.where(condition, first, second))
    elif name == "astype" and first.dtype != "BYTES":
        pool.append(xp.astype(first, data.draw(st.sampled_from([*NUMBERS, "BOOL"]))))
    elif name in _TWO:
        swapped = data.draw(st.booleans())
        pool.append(getattr(xp, name)(*((second, first) if swapped else (first, second))))
    elif name in _ONE:
        pool.append(getattr(xp, name)(first))


@given(st.data(), st.integers(0, 40), st.integers(0, 2**32))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_transform_gives_the_same_bits_when_served(data: st.DataObject, rows: int, seed: int) -> None:
    inputs = {"f": "FP32", "d": "FP64", "i": "INT64", "u": "UINT8", "c": "BOOL", "s": "BYTES"}
    outputs = {f"{name}_as_it_is": of for name, of in inputs.items()} | {f"y_{of.lower()}": of for of in ANY}

    def compute(xp: Any, f: Any, d: Any, i: Any, u: Any, c: Any, s: Any) -> Any:
        pool = [f, d, i, u, c, s]
        for _ in range(data.draw(st.integers(1, 12))):
            _grow(xp, pool, data)
        last = {array.dtype: array for array in pool}
        return (f, d, i, u, c, s, *(last[of] if of in last else xp.astype(i, of) for of in ANY))

    made = transform(inputs, outputs)(compute)
    columns = {name: column(of, rows, seed + at) for at, (name, of) in enumerate(inputs.items())}
    trained = made(**columns)
    for optimized in (True, False):
        assert_same_bits(trained, served(made, columns, optimized))


def test_columns_are_left_alone_when_a_transform_ran() -> None:
    made = transform({"a": "FP32"}, {"y": "FP32"})(lambda xp, a: a * 2.0)
    values = np.array([1.0, np.nan], np.float32)
    made(a=values)
    assert values.tolist()[0] == 1.0

"""What is wrong with a request is said in full: model, version, tensor, expected and got."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import falaj
from tests.serving import add_python, x_of

pytestmark = pytest.mark.core

X = np.zeros((2, 32), dtype=np.float32)
A = np.zeros((2, 3), dtype=np.float32)


def ask(engine: falaj.Engine, how: str, model: str, inputs: Any, **keywords: Any) -> Any:
    if how == "infer":
        return engine.infer(model, inputs, **keywords)
    if how == "infer_many":
        return engine.infer_many(model, [inputs], **keywords)

    async def one() -> Any:
        return await engine.infer_async(model, inputs, **keywords)

    return asyncio.run(one())


HOW = pytest.mark.parametrize("how", ["infer", "infer_many", "infer_async"])

WRONG: list[tuple[str, dict[Any, Any], dict[str, Any], type[Exception], str]] = [
    ("nope", {"x": X}, {}, falaj.NotFound, "model 'nope' is not known; loaded models: .*'mlp'.*"),
    ("", {"x": X}, {}, falaj.NotFound, "model '' is not known; .*"),
    (
        "mlp",
        {"x": X},
        {"version": 7},
        falaj.NotFound,
        "model 'mlp' has no version 7 in service; versions in service: 1",
    ),
    ("mlp", {"x": X}, {"version": -1}, falaj.NotFound, "model 'mlp' has no version -1 in service; .*"),
    (
        "mlp",
        {},
        {},
        falaj.InvalidInput,
        r"model 'mlp' version 1, input 'x': expected FP32 \[-1, 32\], it is missing from the request",
    ),
    ("mlp", {"y": X}, {}, falaj.InvalidInput, r".*input 'x': expected FP32 \[-1, 32\], it is missing.*"),
    (
        "mlp",
        {"x": X, "more": X},
        {},
        falaj.InvalidInput,
        "model 'mlp' version 1 has no input 'more'; its inputs: 'x'",
    ),
    ("mlp", {"x": X, 3: X}, {}, falaj.InvalidInput, "model 'mlp' version 1 has no input '3'; .*"),
    (
        "mlp",
        {"x": X.astype(np.float64)},
        {},
        falaj.InvalidInput,
        r"model 'mlp' version 1, input 'x': expected FP32 \[-1, 32\], got FP64 \[2, 32\]",
    ),
    ("mlp", {"x": X[0]}, {}, falaj.InvalidInput, r".*'x': expected FP32 \[-1, 32\], got FP32 \[32\]"),
    ("mlp", {"x": X[None]}, {}, falaj.InvalidInput, r".*'x': expected FP32 .*, got FP32 \[1, 2, 32\]"),
    ("mlp", {"x": X[0, 0]}, {}, falaj.InvalidInput, r".*'x': expected FP32 .*, got FP32 \[\]"),
    ("mlp", {"x": X[:, 1:]}, {}, falaj.InvalidInput, r".*'x': expected FP32 .*, got FP32 \[2, 31\]"),
    (
        "elementwise_fp32",
        {"a": A, "b": A[:1]},
        {},
        falaj.InvalidInput,
        "model 'elementwise_fp32' version 1, input 'b': expected 2 rows as in input 'a', got 1",
    ),
    ("no_batch", {"x": A}, {}, falaj.InvalidInput, r".*'x': expected FP32 \[3\], got FP32 \[2, 3\]"),
    ("mlp", {"x": X}, {"timeout": -1}, falaj.InvalidInput, "timeout: expected seconds >= 0, got -1.*"),
    ("mlp", {"x": X}, {"timeout": float("nan")}, falaj.InvalidInput, "timeout: expected seconds >= 0, .*"),
    ("mlp", {"x": X}, {"timeout": "1"}, falaj.InvalidInput, "timeout: expected seconds as a number, .*'1'"),
    ("mlp", {"x": X}, {"timeout": 0}, falaj.DeadlineExceeded, "model 'mlp' version 1: the deadline .*"),
    (
        "mlp",
        {"x": X},
        {"priority": 2},
        falaj.InvalidInput,
        r"model 'mlp' version 1: expected a priority of 0 \(default\) to 1, got 2",
    ),
    ("mlp", {"x": X}, {"priority": -1}, falaj.InvalidInput, ".*expected a priority .*, got -1"),
    (
        "mlp",
        {"x": X},
        {"outputs": ["y", "z"]},
        falaj.InvalidInput,
        "model 'mlp' version 1 has no output 'z'; its outputs: 'y'",
    ),
]


@HOW
@pytest.mark.parametrize(("model", "inputs", "keywords", "error", "message"), WRONG)
def test_error_says_what_was_expected_and_found_when_a_request_is_wrong(
    engine: falaj.Engine,
    how: str,
    model: str,
    inputs: dict[str, Any],
    keywords: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=f"^{message}$") as caught:
        ask(engine, how, model, inputs, **keywords)
    assert type(caught.value) is error
    assert isinstance(caught.value, falaj.Error)
    # What was refused leaves the model as it was.
    assert ask(engine, how, "mlp", {"x": X}) is not None


@HOW
@pytest.mark.parametrize("inputs", [[X], None, X, "x", 3])
def test_error_names_the_expected_dict_when_inputs_are_none(
    engine: falaj.Engine, how: str, inputs: Any
) -> None:
    with pytest.raises(TypeError, match="dict"):
        ask(engine, how, "mlp", inputs)


@HOW
@pytest.mark.parametrize(
    "keywords", [{"version": "1"}, {"priority": "1"}, {"priority": 1 << 40}, {"version": 1.5}]
)
def test_type_error_is_raised_when_an_argument_is_of_another_type(
    engine: falaj.Engine, how: str, keywords: dict[str, Any]
) -> None:
    with pytest.raises(TypeError):
        ask(engine, how, "mlp", {"x": X}, **keywords)


@pytest.mark.parametrize(
    ("error", "also"),
    [
        (falaj.InvalidInput, ValueError),
        (falaj.NotFound, LookupError),
        (falaj.DeadlineExceeded, TimeoutError),
        (falaj.InternalError, RuntimeError),
        (falaj.Unavailable, falaj.Error),
        (falaj.Unsupported, falaj.Error),
        (falaj.Cancelled, falaj.Error),
    ],
)
def test_exception_is_also_the_builtin_one_when_there_is_one(
    error: type[Exception], also: type[Exception]
) -> None:
    assert issubclass(error, also)
    assert issubclass(error, falaj.Error)
    assert error.__doc__


def test_others_are_answered_when_one_request_fails_its_batch(engine: falaj.Engine) -> None:
    requests = [{"index": [[i if i != 5 else 99]]} for i in range(10)]
    answers = engine.infer_many("gather_bad_index", requests, return_exceptions=True)
    for i, answer in enumerate(answers):
        if i == 5:
            assert type(answer) is falaj.InvalidInput  # as ONNX Runtime classifies it
        else:
            assert answer["y"].tolist() == [[10 * i, 10 * i + 1, 10 * i + 2, 10 * i + 3]]
    with pytest.raises(falaj.InvalidInput, match="idx=99"):
        engine.infer_many("gather_bad_index", requests)


def test_failure_takes_the_place_of_its_answer_when_exceptions_are_returned(engine: falaj.Engine) -> None:
    requests: list[Any] = [{"x": X}, {}, {"x": X[:, 1:]}, {"x": X}]
    answers = engine.infer_many("mlp", requests, return_exceptions=True)
    assert [type(answer) for answer in answers] == [dict, falaj.InvalidInput, falaj.InvalidInput, dict]
    with pytest.raises(falaj.InvalidInput, match="missing"):
        engine.infer_many("mlp", requests)
    assert engine.infer_many("mlp", []) == []


def test_core_count_is_refused_when_below_one(tmp_path: Path) -> None:
    with pytest.raises(falaj.InvalidInput, match="cores: expected 1 or more, got 0"):
        falaj.Engine(tmp_path, cores=0)


def test_engine_is_refused_when_repository_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(falaj.NotFound, match="nowhere' is not a folder"):
        falaj.Engine(tmp_path / "nowhere")


def test_model_says_why_it_failed_when_not_strict_and_raises_when_strict(tmp_path: Path) -> None:
    add_python(tmp_path, "good")
    add_python(tmp_path, "bad", "raise ImportError('no such thing')")
    with falaj.Engine(tmp_path, cores=1) as engine:
        assert engine.infer("good", x_of(1))["y"].tolist() == [[1]]
        with pytest.raises(falaj.Unavailable, match=r"'bad' is not in service: .*ImportError: no such thing"):
            engine.infer("bad", x_of(1))
        assert {(m["name"], m["state"]) for m in engine.models()} == {
            ("good", "READY"),
            ("bad", "UNAVAILABLE"),
        }
    with pytest.raises(falaj.Unavailable, match=r"model 'bad' was not loaded: .*no such thing"):
        falaj.Engine(tmp_path, cores=1, strict=True)

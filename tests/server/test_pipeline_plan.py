"""Pipelines against what their models take and give."""

from typing import Any

import numpy as np
import pytest

from falaj.server.errors import ConfigError
from falaj.server.pipeline_config import PipelineConfig, PipelineInput, PipelineOutput, StepConfig
from falaj.server.pipeline_plan import StepModel, native_plan, plan_pipeline
from falaj.server.step_condition import Condition
from falaj.server.tensors import Tensor


def _model(
    name: str,
    x: tuple[int, ...] = (-1, 4),
    y: tuple[int, ...] = (-1, 4),
    rows: int = 8,
    makes: str = "FP32",
) -> StepModel:
    return StepModel(name, 3, (Tensor("x", "FP32", x),), (Tensor("y", makes, y),), rows)


def _chain(**change: Any) -> PipelineConfig:
    told: dict[str, Any] = {
        "input": (PipelineInput("x"),),
        "step": (
            StepConfig("a", "", None, {"x": "x"}, {"y": "h"}),
            StepConfig("b", "", None, {"x": "h"}, {"y": "out"}),
        ),
        "output": (PipelineOutput("out"),),
    }
    return PipelineConfig(**(told | change))


def test_plan_infers_ends_and_rows_when_the_models_tell_them() -> None:
    plan = plan_pipeline(_chain(), [_model("a", x=(-1, 2)), _model("b", y=(-1, 5), rows=16)])
    assert plan.inputs == (Tensor("x", "FP32", (-1, 2)),)
    assert plan.outputs == (Tensor("out", "FP32", (-1, 5)),)
    assert (plan.order, plan.max_batch_size) == ((0, 1), 16)


def test_plan_takes_what_all_steps_want_of_an_input_when_several_read_it() -> None:
    steps = (
        StepConfig("a", "", None, {"x": "x"}, {"y": "h"}),
        StepConfig("b", "", None, {"x": "x"}, {"y": "k"}),
    )
    config = _chain(step=steps, output=(PipelineOutput("h"), PipelineOutput("k")))
    plan = plan_pipeline(config, [_model("a", x=(-1, -1, 3)), _model("b", x=(-1, 7, -1))])
    assert plan.inputs[0].shape == (-1, 7, 3)


def test_plan_has_no_batch_dimension_when_a_model_cannot_batch() -> None:
    assert plan_pipeline(_chain(), [_model("a"), _model("b", rows=0)]).max_batch_size == 0
    configured = _chain(max_batch_size=4)
    assert plan_pipeline(configured, [_model("a"), _model("b", rows=0)]).max_batch_size == 4


@pytest.mark.parametrize(
    ("config", "models", "key", "problem"),
    [
        (
            _chain(),
            [_model("a", y=(-1, 5)), _model("b")],
            "step[1].inputs.x",
            "input 'x' of model 'b' version 3 is FP32 [-1, 4]; tensor 'h' is FP32 [-1, 5], output 'y' of",
        ),
        (_chain(), [_model("a", y=(-1, 4, 1)), _model("b")], "step[1].inputs.x", "is FP32 [-1, 4, 1]"),
        (
            _chain(input=(PipelineInput("x", "INT64", (-1, 4)),)),
            [_model("a"), _model("b")],
            "step[0].inputs.x",
            "tensor 'x' is INT64 [-1, 4], as the pipeline's input is declared",
        ),
        (
            _chain(output=(PipelineOutput("out", datatype="INT64"),)),
            [_model("a"), _model("b")],
            "output[0]",
            "declared as INT64 [-1, 4]; it is FP32 [-1, 4]",
        ),
        (
            _chain(output=(PipelineOutput("out", shape=(-1, 9)),)),
            [_model("a"), _model("b")],
            "output[0]",
            "declared as FP32 [-1, 9]",
        ),
        (
            _chain(max_batch_size=2),
            [_model("a", x=(1, 4)), _model("b")],
            "max_batch_size",
            "input 'x' [1, 4] has no variable first dimension",
        ),
        (
            _chain(output=(PipelineOutput("out", default=1.0),)),
            [_model("a"), _model("b", y=(-1, -1))],
            "output[0].default",
            "no variable size",
        ),
    ],
)
def test_plan_names_the_key_when_models_do_not_fit(
    config: PipelineConfig, models: list[StepModel], key: str, problem: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        plan_pipeline(config, models)
    assert caught.value.key == key
    assert problem in caught.value.problem


@pytest.mark.parametrize(
    ("inputs", "outputs", "key", "problem"),
    [
        ({"xx": "x"}, {"y": "h"}, "step[0].inputs.xx", "model 'a' version 3 has no input 'xx'"),
        ({"x": "x"}, {"yy": "h"}, "step[0].outputs.yy", "has no output 'yy'; did you mean 'y'?"),
        ({}, {"y": "h"}, "step[0].inputs", "nothing is given for input 'x' (FP32 [-1, 4])"),
    ],
)
def test_plan_names_the_key_when_a_model_has_other_tensors(
    inputs: dict[str, str], outputs: dict[str, str], key: str, problem: str
) -> None:
    steps = (
        StepConfig("a", "", None, inputs, outputs),
        StepConfig("b", "", None, {"x": "h", **({} if inputs else {"z": "x"})}, {"y": "out"}),
    )
    with pytest.raises(ConfigError) as caught:
        plan_pipeline(_chain(step=steps), [_model("a"), _model("b")])
    assert (caught.value.key, problem in caught.value.problem) == (key, True)


def test_plan_refuses_a_condition_when_its_tensor_is_no_scalar() -> None:
    steps = (
        StepConfig("a", "", None, {"x": "x"}, {"y": "h"}),
        StepConfig("b", "", None, {"x": "x"}, {"y": "out"}, Condition("h", equals=1)),
    )
    with pytest.raises(ConfigError, match=r"one element a row.*'h' is FP32 \[-1, 4\]"):
        plan_pipeline(_chain(step=steps), [_model("a"), _model("b")])
    plan_pipeline(_chain(step=steps), [_model("a", y=(-1, 1)), _model("b")])


def test_native_plan_has_a_row_of_the_default_when_an_output_has_one() -> None:
    config = _chain(output=(PipelineOutput("out", default=7.0),))
    plan = plan_pipeline(config, [_model("a"), _model("b", y=(-1, 2), makes="INT64")])
    native = native_plan("p", 2, config, plan)
    assert native["outputs"] == [(2, (2,), np.array([7, 7], np.int64).tobytes())]
    assert native["tensors"] == [("x", "FP32"), ("h", "FP32"), ("out", "INT64")]
    assert native["steps"][1] == ("b", "b", 0, [("x", 1)], [("y", 2)], None)

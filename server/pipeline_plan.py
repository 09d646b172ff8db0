"""How the steps of a pipeline fit the models that are there: types, shapes, and what the core is told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from falaj.server.arrays import from_python, numpy_type
from falaj.server.errors import ConfigError
from falaj.server.pipeline_config import PipelineConfig, PipelineOutput, StepConfig
from falaj.server.pipeline_graph import order_of
from falaj.server.sequences import SequenceBounds, bounds_of_all
from falaj.server.strict_toml import did_you_mean
from falaj.server.tensors import Tensor

# Rows of requests that lie side by side; more lie in memory of their own.
_MOST_ROWS = 128


@dataclass(frozen=True)
class StepModel:
    """A model as a step finds it: its name and version, for messages, and what it takes and gives.
    `max_batch_size` 0: it cannot batch."""

    name: str
    version: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    max_batch_size: int
    sequences: SequenceBounds | None = None

    def __str__(self) -> str:
        return f"model '{self.name}' version {self.version}"


@dataclass(frozen=True)
class PipelinePlan:
    """A pipeline that fits its models. `tensors` has a type and shape for each, the inputs first."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    tensors: tuple[Tensor, ...]
    order: tuple[int, ...]
    max_batch_size: int
    sequences: SequenceBounds | None


@dataclass(frozen=True)
class _Origin:
    """A tensor, and who says that it is so."""

    tensor: Tensor
    said_by: str


def plan_pipeline(config: PipelineConfig, models: Sequence[StepModel]) -> PipelinePlan:
    """Look whether the steps fit `models`, one for each, and tell what the pipeline takes and gives.

    Raises ConfigError with the key of the step, input or output that does not fit.
    """
    order = order_of(config.step)
    known: dict[str, _Origin] = {}
    for tensor in config.input:
        if tensor.datatype is not None and tensor.shape is not None:
            declared = Tensor(tensor.name, tensor.datatype, tensor.shape)
            known[tensor.name] = _Origin(declared, "as the pipeline's input is declared")
    for index in order:
        _take_step(config, index, models[index], known)
    inputs = tuple(_input(config, index, known) for index in range(len(config.input)))
    outputs = tuple(_output(one, f"output[{i}]", known) for i, one in enumerate(config.output))
    rows = _batching(config, models, inputs, outputs)
    if rows:
        outputs = tuple(tensor.with_shape((-1, *tensor.shape[1:])) for tensor in outputs)
    for index, step in enumerate(config.step):
        if step.when is not None:
            _check_scalar(known[step.when.tensor].tensor, f"step[{index}].when.tensor")
    for index, one in enumerate(config.output):
        if one.default is not None:
            _default_row(one, outputs[index], rows, f"output[{index}].default")
    made = [name for name in known if name not in {tensor.name for tensor in inputs}]
    tensors = (*inputs, *(known[name].tensor for name in made))
    sequences = bounds_of_all(model.sequences for model in models)
    return PipelinePlan(inputs, outputs, tensors, tuple(order), rows, sequences)


def native_plan(name: str, version: int, config: PipelineConfig, plan: PipelinePlan) -> dict[str, Any]:
    """The plan as the core takes it (csrc/bind/pipeline.cc)."""
    index = {tensor.name: i for i, tensor in enumerate(plan.tensors)}

    def pairs(names: Mapping[str, str]) -> list[tuple[str, int]]:
        return [(own, index[tensor]) for own, tensor in names.items()]

    steps = []
    for number in plan.order:
        step = config.step[number]
        when = step.when and (index[step.when.tensor], step.when.kind, list(step.when.values))
        steps.append(
            (step.name, step.model, step.version or 0, pairs(step.inputs), pairs(step.outputs), when)
        )
    outputs: list[tuple[int, tuple[int, ...], bytes | None]] = []
    for one, tensor in zip(config.output, plan.outputs, strict=True):
        row = None if one.default is None else _default_row(one, tensor, plan.max_batch_size, "")
        shape = row.shape if row is not None else ()
        outputs.append((index[one.tensor], shape, None if row is None else row.tobytes()))
    return {
        "name": name,
        "version": version,
        "batches": plan.max_batch_size > 0,
        "inputs": len(plan.inputs),
        "tensors": [(tensor.name, tensor.datatype) for tensor in plan.tensors],
        "steps": steps,
        "outputs": outputs,
        "keeps_sequences": plan.sequences is not None,
    }


def _take_step(config: PipelineConfig, index: int, model: StepModel, known: dict[str, _Origin]) -> None:
    """Compare a step's inputs with what is known of their tensors, and learn of those that it makes."""
    step = config.step[index]
    _check_step_names(step, index, model)
    narrowed = {tensor.name: tensor for tensor in config.input}
    for spec in model.inputs:
        name = step.inputs[spec.name]
        key = f"step[{index}].inputs.{spec.name}"
        wanted = f"input '{spec.name}' of {model}"
        if name not in known:  # of the pipeline, and not wholly declared
            declared = narrowed[name]
            first = Tensor(name, declared.datatype or spec.datatype, declared.shape or spec.shape)
            known[name] = _Origin(first, "as the pipeline's input is declared")
        origin = known[name]
        shape = _meet(origin.tensor.shape, spec.shape)
        if origin.tensor.datatype != spec.datatype or shape is None:
            raise ConfigError(
                f"{wanted} is {_told(spec)}; tensor '{name}' is {_told(origin.tensor)}, {origin.said_by}",
                key=key,
            )
        if name in narrowed and narrowed[name].shape is None:
            known[name] = _Origin(origin.tensor.with_shape(shape), f"as {wanted} wants it")
    outputs = {spec.name: spec for spec in model.outputs}
    for own, name in step.outputs.items():
        made = Tensor(name, outputs[own].datatype, outputs[own].shape)
        said_by = f"output '{own}' of step '{step.name}'"
        if name in known:
            made = _merge(known[name], made, f"step[{index}].outputs.{own}", said_by)
        known[name] = _Origin(made, said_by)


def _check_step_names(step: StepConfig, index: int, model: StepModel) -> None:
    for kind, given, specs in (("input", step.inputs, model.inputs), ("output", step.outputs, model.outputs)):
        names = [spec.name for spec in specs]
        for own in given:
            if own not in names:
                raise ConfigError(
                    f"{model} has no {kind} '{own}'{did_you_mean(own, names)}",
                    key=f"step[{index}].{kind}s.{own}",
                )
    for spec in model.inputs:
        if spec.name not in step.inputs:
            raise ConfigError(
                f"nothing is given for input '{spec.name}' ({_told(spec)}) of {model}",
                key=f"step[{index}].inputs",
            )


def _merge(origin: _Origin, made: Tensor, key: str, said_by: str) -> Tensor:
    """A tensor that several branches make: sizes in which they differ are variable."""
    before = origin.tensor
    if before.datatype != made.datatype or len(before.shape) != len(made.shape):
        raise ConfigError(
            f"tensor '{made.name}' is {_told(made)} here and {_told(before)} as {origin.said_by}; expected "
            "branches that make the same",
            key=key,
        )
    sizes = zip(before.shape, made.shape, strict=True)
    return made.with_shape(tuple(a if a == b else -1 for a, b in sizes))


def _meet(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape that fits both, None where none does."""
    if len(one) != len(other):
        return None
    if any(a != b and -1 not in (a, b) for a, b in zip(one, other, strict=True)):
        return None
    return tuple(b if a == -1 else a for a, b in zip(one, other, strict=True))


def _told(tensor: Tensor) -> str:
    return f"{tensor.datatype} {list(tensor.shape)}"


def _input(config: PipelineConfig, index: int, known: Mapping[str, _Origin]) -> Tensor:
    declared = config.input[index]
    if declared.name not in known:
        raise ConfigError("expected datatype and shape, no step tells them", key=f"input[{index}]")
    return known[declared.name].tensor


def _output(one: PipelineOutput, key: str, known: Mapping[str, _Origin]) -> Tensor:
    if one.tensor not in known:
        raise ConfigError(f"tensor '{one.tensor}' is an input that no step tells the type of", key=key)
    origin = known[one.tensor]
    shape = origin.tensor.shape if one.shape is None else _meet(one.shape, origin.tensor.shape)
    if shape is None or one.datatype not in (None, origin.tensor.datatype):
        datatype = one.datatype or origin.tensor.datatype
        said = f"{datatype} {list(one.shape if one.shape is not None else origin.tensor.shape)}"
        raise ConfigError(f"declared as {said}; it is {_told(origin.tensor)}, {origin.said_by}", key=key)
    return Tensor(one.name, origin.tensor.datatype, shape)


def _batching(
    config: PipelineConfig,
    models: Sequence[StepModel],
    inputs: tuple[Tensor, ...],
    outputs: tuple[Tensor, ...],
) -> int:
    """Rows of the pipeline's requests that lie side by side; 0: it has no batch dimension."""
    ends = [("input", inputs), ("output", outputs)]
    fixed = next(((k, t) for k, tensors in ends for t in tensors if t.shape[:1] != (-1,)), None)
    if config.max_batch_size is None:
        if fixed is not None or any(model.max_batch_size == 0 for model in models):
            return 0
        return min(_MOST_ROWS, max(model.max_batch_size for model in models))
    if config.max_batch_size and fixed is not None:
        kind, tensor = fixed
        raise ConfigError(
            f"expected 0, {kind} '{tensor.name}' {list(tensor.shape)} has no variable first dimension; got "
            f"{config.max_batch_size}",
            key="max_batch_size",
        )
    return config.max_batch_size


def _check_scalar(tensor: Tensor, key: str) -> None:
    one_a_row = all(size == 1 for size in tensor.shape[1:]) and tensor.shape[:1] in ((), (-1,), (1,))
    if tensor.datatype == "BYTES" or not one_a_row:
        raise ConfigError(
            f"expected numbers or BOOL with one element a row, such as [-1, 1]; '{tensor.name}' is "
            f"{_told(tensor)}",
            key=key,
        )


def _default_row(one: PipelineOutput, tensor: Tensor, rows: int, key: str) -> np.ndarray[Any, Any]:
    """One row of an output's default; the whole output where the pipeline has no batch dimension."""
    shape = tensor.shape[1:] if rows else tensor.shape
    if tensor.datatype == "BYTES" or -1 in shape:
        raise ConfigError(
            f"expected an output of numbers with no variable size in a row; it is {_told(tensor)}", key=key
        )
    if tensor.datatype == "BOOL":
        if one.default not in (0, 1):
            raise ConfigError(f"expected 0 or 1 for BOOL, got {one.default}", key=key)
        return np.full(shape, bool(one.default))
    told = one.default
    whole = told is not None and told.is_integer() and "INT" in tensor.datatype
    try:
        value = from_python(int(told) if whole and told is not None else told, tensor.datatype)
    except ValueError as error:
        raise ConfigError(str(error), key=key) from error
    return np.full(shape, value, dtype=numpy_type(tensor.datatype))

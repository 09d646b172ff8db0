"""How the steps of a pipeline hang together, before any model is looked at: names, order, branches."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from falaj.server.errors import ConfigError
from falaj.server.step_condition import Condition
from falaj.server.strict_toml import did_you_mean

Makers = dict[str, list[int]]  # tensor -> steps that make it


class Step(Protocol):
    """A step as it is configured."""

    @property
    def name(self) -> str: ...
    @property
    def inputs(self) -> Mapping[str, str]: ...
    @property
    def outputs(self) -> Mapping[str, str]: ...
    @property
    def when(self) -> Condition | None: ...


def check_graph(steps: Sequence[Step], inputs: Sequence[str], outputs: Iterable[str]) -> None:
    """Look whether every tensor is made, by one step or by exclusive branches, and used, and whether the
    steps need each other in no circle. Raises ConfigError with the key of what is wrong."""
    outputs = list(outputs)
    makers = _makers(steps, inputs)
    _check_names(steps, inputs, outputs, makers)
    conditions = _conditions(steps, order_of(steps), makers)
    _check_branches(steps, makers, conditions)
    _check_used(steps, inputs, outputs)


def needs_of(step: Step) -> list[str]:
    """The tensors that a step waits for."""
    return [*step.inputs.values(), *([step.when.tensor] if step.when is not None else [])]


def order_of(steps: Sequence[Step]) -> list[int]:
    """An order in which each step comes behind all that make what it needs; as configured where that leaves a
    choice. Raises ConfigError where there is none."""
    makers: Makers = {}
    for index, step in enumerate(steps):
        for tensor in step.outputs.values():
            makers.setdefault(tensor, []).append(index)
    before = [{m for tensor in needs_of(step) for m in makers.get(tensor, ())} for step in steps]
    order: list[int] = []
    left = dict.fromkeys(range(len(steps)))
    while left:
        ready = next((index for index in left if before[index].isdisjoint(left)), None)
        if ready is None:
            raise _circle(steps, before, next(iter(left)), left)
        order.append(ready)
        del left[ready]
    return order


def _circle(
    steps: Sequence[Step], before: Sequence[set[int]], start: int, left: Iterable[int]
) -> ConfigError:
    """The error that names a circle: every step that is left waits for another one that is."""
    among = set(left)
    path = [start]
    while path.count(path[-1]) < 2:
        path.append(min(before[path[-1]] & among))
    circle = path[path.index(path[-1]) :]
    named = " -> ".join(f"'{steps[index].name}'" for index in circle)
    return ConfigError(f"steps need each other in a circle: {named}", key=f"step[{circle[0]}].inputs")


def _makers(steps: Sequence[Step], inputs: Sequence[str]) -> Makers:
    makers: Makers = {}
    for index, step in enumerate(steps):
        for output, tensor in step.outputs.items():
            key = f"step[{index}].outputs.{output}"
            if tensor in inputs:
                raise ConfigError(f"'{tensor}' is an input of the pipeline, which no step makes", key=key)
            if index in makers.get(tensor, ()):
                raise ConfigError(f"'{tensor}' is made twice by this step", key=key)
            if not tensor:
                raise ConfigError("expected a tensor's name, got ''", key=key)
            makers.setdefault(tensor, []).append(index)
    return makers


def _check_names(
    steps: Sequence[Step], inputs: Sequence[str], outputs: Sequence[str], makers: Mapping[str, object]
) -> None:
    known = [*inputs, *makers]

    def check(tensor: str, key: str) -> None:
        if tensor not in known:
            raise ConfigError(f"there is no tensor '{tensor}'{did_you_mean(tensor, known)}", key=key)

    for index, step in enumerate(steps):
        for name, tensor in step.inputs.items():
            check(tensor, f"step[{index}].inputs.{name}")
        if step.when is not None:
            check(step.when.tensor, f"step[{index}].when.tensor")
    for index, tensor in enumerate(outputs):
        check(tensor, f"output[{index}].tensor")


def _conditions(steps: Sequence[Step], order: Sequence[int], makers: Makers) -> list[list[Condition]]:
    """What holds of every request for which a step is run: its own condition and those of the steps that make
    what it needs; of a tensor of several branches, what all of them have in common."""
    found: list[list[Condition]] = [[] for _ in steps]
    for index in order:
        step = steps[index]
        own = [step.when] if step.when is not None else []
        for tensor in needs_of(step):
            made = [found[maker] for maker in makers.get(tensor, ())]
            if made:
                own += [one for one in made[0] if all(one in others for others in made[1:])]
        found[index] = list(dict.fromkeys(own))
    return found


def _check_branches(steps: Sequence[Step], makers: Makers, conditions: Sequence[list[Condition]]) -> None:
    def exclude(one: int, other: int) -> bool:
        return any(a.excludes(b) for a in conditions[one] for b in conditions[other])

    for index, step in enumerate(steps):
        if exclude(index, index):
            raise ConfigError(
                "it can never be run: what it needs comes from branches that exclude each other",
                key=f"step[{index}].inputs",
            )
        for output, tensor in step.outputs.items():
            for other in makers[tensor]:
                if other < index and not exclude(other, index):
                    raise ConfigError(
                        f"tensor '{tensor}' is made by step '{steps[other].name}' too; expected steps of "
                        "which at most one is run (conditions `when` on one tensor that exclude each other)",
                        key=f"step[{index}].outputs.{output}",
                    )


def _check_used(steps: Sequence[Step], inputs: Sequence[str], outputs: Sequence[str]) -> None:
    used = {tensor for step in steps for tensor in needs_of(step)} | set(outputs)
    for index, tensor in enumerate(inputs):
        if tensor not in used:
            raise ConfigError(f"'{tensor}' is used by no step and no output", key=f"input[{index}]")
    for index, step in enumerate(steps):
        for output, tensor in step.outputs.items():
            if tensor not in used:
                raise ConfigError(
                    f"tensor '{tensor}' is used by no step and no output; leave the output out",
                    key=f"step[{index}].outputs.{output}",
                )

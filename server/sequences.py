"""A stateful model as it is loaded: behind the states and the control tensors of its sequences."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from falaj import _core
from falaj.server import arrays
from falaj.server.errors import ConfigError
from falaj.server.probe import Probe
from falaj.server.sequence_config import SequenceConfig, SequenceState
from falaj.server.tensors import Tensor, of_backend
from falaj.server.tune import Choice


@dataclass(frozen=True)
class SequenceBounds:
    """How many sequences of a model live at a time, and how long one may be idle."""

    max_live: int
    slots: int  # so many are served at a time; 0: all
    idle_seconds: float

    def as_tuple(self) -> tuple[int, int, float]:
        """As the native core takes it."""
        return self.max_live, self.slots, self.idle_seconds


def declared_inputs(config: SequenceConfig | None, where: str) -> tuple[Tensor, ...]:
    """Control tensors and states of a python model, as inputs that it has beside those of model.toml.

    Raises ConfigError where one says no data type.
    """
    if config is None:
        return ()
    controls = [
        Tensor(control.name, _said(control.datatype, where, "control", i), (-1, 1))
        for i, control in enumerate(config.control)
    ]
    return (*controls, *(_state(state, state.input, where, i) for i, state in enumerate(config.state)))


def declared_outputs(config: SequenceConfig | None, where: str) -> tuple[Tensor, ...]:
    """States of a python model, as outputs beside those of model.toml. Raises ConfigError."""
    states = config.state if config is not None else ()
    return tuple(_state(state, state.output, where, i) for i, state in enumerate(states))


def bound_choice(config: SequenceConfig, choice: Choice, model: _core.Backend, where: str) -> Choice:
    """The choice that a stateful model allows: what keeps sequences in its instance or tells them by their
    row has one instance, and states whose size varies are not batched. Raises ConfigError."""
    inputs, _ = of_backend(model)
    kept_by_model = not config.state or config.strategy == "direct"
    if kept_by_model and choice.instances > 1:
        choice = replace(choice, instances=1, why=f"one instance, which has the sequences; {choice.why}")
    named = {tensor.name: tensor for tensor in inputs}
    first = 1 if choice.max_batch_size > 0 else 0
    if choice.max_batch_size > 1 and any(
        -1 in named[state.input].shape[first:] for state in config.state if state.input in named
    ):
        choice = replace(choice, max_batch_size=1, why=f"a state's size varies: no batches; {choice.why}")
    if config.strategy == "direct" and choice.max_batch_size == 0:
        raise ConfigError(f"{where}: `sequence.strategy`: direct needs a batch dimension (max_batch_size)")
    return choice


def keep_sequences(
    config: SequenceConfig, model: _core.Backend, choice: Choice, found: Probe, folder: Path, where: str
) -> tuple[_core.Backend, Probe]:
    """Return a backend that is asked without controls and states, and asks `model`, which it takes over.

    Args:
        config: The table [sequence].
        model: The whole model.
        choice: As bound_choice returned it.
        found: What was found of `model`.
        folder: The model's, for files of initial states.
        where: The model's name, for errors.

    Raises:
        ConfigError: a tensor that the model does not have, or that does not fit.
    """
    inputs, outputs = of_backend(model)
    in_place = {tensor.name: i for i, tensor in enumerate(inputs)}
    out_place = {tensor.name: i for i, tensor in enumerate(outputs)}
    batches = choice.max_batch_size > 0
    controls = [
        (control.kind, _place(in_place, control.name, "input", f"{where}: `sequence.control[{i}]`"),
         control.off, control.on)
        for i, control in enumerate(config.control)
    ]  # fmt: skip
    states = []
    for i, state in enumerate(config.state):
        at = f"{where}: `sequence.state[{i}]`"
        into = _place(in_place, state.input, "input", at)
        out_of = _place(out_place, state.output, "output", at)
        _check_type(state.datatype, inputs[into], at)
        shape, initial = _initial(state, inputs[into], batches, folder, at)
        states.append((into, out_of, shape, initial))
    taken = {place for _, place, *_ in controls} | {into for into, *_ in states}
    kept = {out_of for _, out_of, *_ in states}
    for i, control in enumerate(config.control):
        _check_type(control.datatype, inputs[in_place[control.name]], f"{where}: `sequence.control[{i}]`")
    try:
        wrapped = _core.keep_sequences(
            model,
            inputs=[i for i in range(len(inputs)) if i not in taken],
            outputs=[i for i in range(len(outputs)) if i not in kept],
            controls=controls,
            states=states,
            batches=batches,
            by_slot=config.strategy == "direct",
            max_state_bytes=int(config.max_state_mb * 2**20),
        )
    except _core.InvalidInput as error:
        raise ConfigError(f"{where}: `sequence`: {error}") from error
    names = {outputs[i].name for i in kept}
    return wrapped, replace(found, outputs=tuple(t for t in found.outputs if t.name not in names))


def sequence_bounds(config: SequenceConfig | None, choice: Choice) -> SequenceBounds | None:
    """The bounds of a model that `config` makes stateful; None of any other."""
    if config is None:
        return None
    slots = choice.max_batch_size if config.strategy == "direct" else config.max_candidates
    return SequenceBounds(config.max_sequences, slots, config.idle_timeout_ms / 1000)


def bounds_of_all(models: Iterable[SequenceBounds | None]) -> SequenceBounds | None:
    """The bounds of a pipeline: the least of its stateful models'; None where it has none. It has no slots,
    those are its models'."""
    found = [bounds for bounds in models if bounds is not None]
    if not found:
        return None
    return SequenceBounds(min(b.max_live for b in found), 0, min(b.idle_seconds for b in found))


def _said(datatype: str | None, where: str, kind: str, index: int) -> str:
    if datatype is None:
        raise ConfigError(f"{where}: `sequence.{kind}[{index}]`: of a python model it needs a datatype")
    return datatype


def _state(state: SequenceState, name: str, where: str, index: int) -> Tensor:
    if state.shape is None:
        raise ConfigError(f"{where}: `sequence.state[{index}]`: of a python model it needs a shape")
    return Tensor(name, _said(state.datatype, where, "state", index), (-1, *state.shape))


def _place(places: dict[str, int], name: str, kind: str, where: str) -> int:
    if name not in places:
        has = ", ".join(f"'{known}'" for known in places) or "none"
        raise ConfigError(f"{where}: the model has no {kind} '{name}'; it has {has}")
    return places[name]


def _check_type(said: str | None, tensor: Tensor, where: str) -> None:
    if said is not None and said != tensor.datatype:
        raise ConfigError(f"{where}: '{tensor.name}' is {tensor.datatype} in the model, here it is {said}")


def _initial(
    state: SequenceState, tensor: Tensor, batches: bool, folder: Path, where: str
) -> tuple[tuple[int, ...], bytes]:
    """Shape and bytes of what a sequence begins with; no bytes for zeros."""
    declared = tensor.shape[1:] if batches else tensor.shape
    shape = state.shape if state.shape is not None else tuple(max(0, size) for size in declared)
    if state.initial_file is None:
        return shape, b""
    path = folder / state.initial_file
    try:
        if path.suffix == ".npy":
            array: Any = np.load(path, allow_pickle=False)
            if array.dtype != arrays.numpy_type(tensor.datatype) or (
                state.shape is not None and array.shape != state.shape
            ):
                raise ConfigError(
                    f"{where}: {state.initial_file}: expected {tensor.datatype} {list(shape)}, "
                    f"got {array.dtype} {list(array.shape)}"
                )
            return tuple(array.shape), np.ascontiguousarray(array).tobytes()
        return shape, path.read_bytes()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{where}: {state.initial_file}: cannot be read: {error}") from error

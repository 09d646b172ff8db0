"""How a stateful model is served: the table `[sequence]` of `model.toml`."""

from typing import Literal

import msgspec

from falaj.server.errors import ConfigError
from falaj.server.model_checks import require_int, require_ms, require_name, require_unique

ControlKind = Literal["start", "end", "ready", "id"]
ControlType = Literal["BOOL", "INT32", "INT64", "UINT32", "UINT64", "FP32", "BYTES"]
StateType = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64",
    "FP16", "BF16", "FP32", "FP64",
]  # fmt: skip
_NEVER_IDS = ("BOOL", "FP32")


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every table: immutable, no unknown keys."""


class SequenceControl(_Table, frozen=True):
    """An input of the model that the server fills: it tells of each row's sequence."""

    name: str
    """Name of the input in the model."""
    kind: ControlKind
    """`start`: the row is the first of its sequence; `end`: the last; `ready`: the row has a request (with
    the strategy direct, some have none); `id`: the sequence's id."""
    datatype: ControlType | None = None
    """V2 data type. Default: the model's. State it for python models."""
    off: float = 0
    """What says no. Default: 0. Not of `id`."""
    on: float = 1
    """What says yes. Default: 1. Not of `id`."""

    def __post_init__(self) -> None:
        require_name(self.name)
        wrong = _NEVER_IDS if self.kind == "id" else ("BYTES",)
        if self.datatype in wrong:
            raise ConfigError(
                f"expected another type for the kind '{self.kind}', got {self.datatype}", key="datatype"
            )
        if self.off == self.on:
            raise ConfigError(f"expected another value than `off` ({self.off:g})", key="on")


class SequenceState(_Table, frozen=True):
    """An output of the model that becomes its input when the sequence's next request is run."""

    input: str
    """Name of the input in the model."""
    output: str
    """Name of the output in the model."""
    datatype: StateType | None = None
    """V2 data type. Default: the model's. State it for python models."""
    shape: tuple[int, ...] | None = None
    """Shape of one sequence's state when it begins, without the batch dimension. Default: the model's, with 0
    where that is variable. State it for python models."""
    initial_file: str | None = None
    """File in the model's folder with the state that a sequence begins with: `.npy`, or else its bytes,
    little endian and row-major. Default: zeros."""

    def __post_init__(self) -> None:
        for key in ("input", "output"):
            if not getattr(self, key):
                raise ConfigError("expected a tensor's name, got ''", key=key)
        for index, size in enumerate(self.shape or ()):
            require_int(f"shape[{index}]", size, 0)
        if self.initial_file is not None:
            parts = self.initial_file.split("/")
            if not all(part not in ("", ".", "..") for part in parts) or "\\" in self.initial_file:
                raise ConfigError(
                    f"expected the name of a file in the model's folder, got {self.initial_file!r}",
                    key="initial_file",
                )


class SequenceConfig(_Table, frozen=True):
    """A model that keeps something from one request of a sequence to the next."""

    strategy: Literal["oldest", "direct"] = "oldest"
    """`oldest`: the requests that have waited longest make a batch. `direct`: each sequence has a row of its
    own in every batch, for models that tell sequences by their row. Default: oldest."""
    max_sequences: int = 10_000
    """Sequences that are live at a time; a request that begins one more is refused. Default: 10000. It bounds
    the memory of states."""
    max_candidates: int = 0
    """With oldest: sequences that are served at a time, others wait until one of them ends. Default: 0, all.
    With direct it is max_batch_size."""
    idle_timeout_ms: float = 60_000
    """Milliseconds after which a sequence without requests ends by itself. Default: 60000."""
    max_state_mb: float = 64
    """Megabytes that one state of one sequence may have. Default: 64. States of a variable size grow."""
    control: tuple[SequenceControl, ...] = ()
    """Inputs that tell the model of the sequence. Default: none."""
    state: tuple[SequenceState, ...] = ()
    """States that are kept for the model. Default: none, the model keeps its own (a python model)."""

    def __post_init__(self) -> None:
        require_int("max_sequences", self.max_sequences, 1)
        require_int("max_candidates", self.max_candidates, 0)
        require_ms("idle_timeout_ms", self.idle_timeout_ms)
        if not 0 < self.max_state_mb <= 2**20:
            raise ConfigError(f"expected megabytes above 0, got {self.max_state_mb}", key="max_state_mb")
        if self.strategy == "direct" and self.max_candidates:
            raise ConfigError("expected none with strategy 'direct'", key="max_candidates")
        require_unique("control", [control.name for control in self.control])
        require_unique("state", [state.input for state in self.state])
        require_unique("state", [state.output for state in self.state])
        for index, state in enumerate(self.state):
            if state.input in {control.name for control in self.control}:
                raise ConfigError(f"'{state.input}' is a control already", key=f"state[{index}].input")

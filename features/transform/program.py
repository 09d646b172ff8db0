"""What a transform computes: steps over columns, as data."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from falaj.features.errors import DefinitionError

# Which datatypes a group of operations takes.
FLOATS = ("FP32", "FP64")
SIGNED = ("INT8", "INT16", "INT32", "INT64")
UNSIGNED = ("UINT8", "UINT16", "UINT32", "UINT64")
INTEGERS = (*SIGNED, *UNSIGNED)
NUMBERS = (*FLOATS, *INTEGERS)
ANY = (*NUMBERS, "BOOL", "BYTES")
_FORMAT = 1  # of `plain`


@dataclass(frozen=True)
class Constant:
    """A scalar, as Python writes it: so 0.0 is not -0.0, and NaN is itself."""

    text: str
    datatype: str


# A column, by the number of the input or step it comes from, or a constant.
Operand = int | Constant


@dataclass(frozen=True)
class Step:
    """An operation on columns of one length; its result is a column of that length."""

    operation: str
    operands: tuple[Operand, ...]
    datatype: str


@dataclass(frozen=True)
class Program:
    """Columns are numbered: the inputs in order, then the steps."""

    inputs: tuple[tuple[str, str], ...]
    steps: tuple[Step, ...]
    outputs: tuple[tuple[str, int], ...]

    def datatype(self, operand: Operand) -> str:
        """Return the datatype of a column or a constant."""
        if isinstance(operand, Constant):
            return operand.datatype
        first = len(self.inputs)
        return self.inputs[operand][1] if operand < first else self.steps[operand - first].datatype

    def plain(self) -> list[Any]:
        """Return all that decides the outputs, as JSON has it."""
        steps = [[s.operation, [_plain(o) for o in s.operands], s.datatype] for s in self.steps]
        return [_FORMAT, [*map(list, self.inputs)], steps, [*map(list, self.outputs)]]

    def content_hash(self) -> str:
        """Return the SHA-256, in hex, of what `plain` returns."""
        text = json.dumps(self.plain(), ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def program_of(plain: list[Any]) -> Program:
    """Return the program of which `plain` said this. Raises DefinitionError where its format is another."""
    if not plain or plain[0] != _FORMAT:
        raise DefinitionError(f"transform: expected format {_FORMAT}, got {plain[:1]}")
    _, inputs, steps, outputs = plain
    return Program(
        tuple((name, datatype) for name, datatype in inputs),
        tuple(Step(of, tuple(map(_operand, operands)), datatype) for of, operands, datatype in steps),
        tuple((name, index) for name, index in outputs),
    )


def pruned(program: Program) -> Program:
    """Return the program without the steps that no output needs."""
    first, needed = len(program.inputs), {index for _, index in program.outputs}
    for at in reversed(range(len(program.steps))):
        if first + at in needed:
            needed.update(o for o in program.steps[at].operands if isinstance(o, int))
    kept = [at for at in range(len(program.steps)) if first + at in needed]
    moved = {at: at for at in range(first)} | {first + at: first + to for to, at in enumerate(kept)}
    steps = tuple(
        Step(s.operation, tuple(moved[o] if isinstance(o, int) else o for o in s.operands), s.datatype)
        for s in (program.steps[at] for at in kept)
    )
    return Program(program.inputs, steps, tuple((name, moved[index]) for name, index in program.outputs))


def used(program: Program) -> set[int]:
    """Return the numbers of the columns that a step or an output takes."""
    taken = {o for step in program.steps for o in step.operands if isinstance(o, int)}
    return taken | {index for _, index in program.outputs}


def _plain(operand: Operand) -> int | list[str]:
    return operand if isinstance(operand, int) else [operand.text, operand.datatype]


def _operand(told: int | list[str]) -> Operand:
    return told if isinstance(told, int) else Constant(*told)

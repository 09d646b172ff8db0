"""What flows through a scikit-learn pipeline while it is written as a graph."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from falaj.training.errors import TrainingError
from falaj.training.graph.frame_columns import Missing
from falaj.training.graph.graph import Growth


@dataclass(frozen=True)
class Part:
    """Columns that lie in one tensor.

    Attributes:
        tensor: [rows, width], FP64, or BYTES of text.
        missing: Of text: the missing value that '' stands for, if it does.
    """

    tensor: str
    width: int
    text: bool = False
    missing: Missing | None = None


# The columns from left to right.
Frame = tuple[Part, ...]


def width(frame: Frame) -> int:
    """Return the number of columns."""
    return sum(part.width for part in frame)


def taken(grow: Growth, frame: Frame, columns: Sequence[int]) -> Frame:
    """Return some of the columns, in the order in which they are named."""
    starts = np.cumsum([0, *(part.width for part in frame)])
    made: list[Part] = []
    wanted = [(int(np.searchsorted(starts, column, side="right")) - 1, column) for column in columns]
    while wanted:
        of = wanted[0][0]
        run = next((at for at, (part, _) in enumerate(wanted) if part != of), len(wanted))
        inside = [column - int(starts[of]) for _, column in wanted[:run]]
        part, wanted = frame[of], wanted[run:]
        tensor = part.tensor
        if inside != list(range(part.width)):
            tensor = grow.node("Gather", tensor, grow.constant(inside, np.int64), axis=1)
        made.append(Part(tensor, len(inside), part.text, part.missing))
    return tuple(made)


def matrix(grow: Growth, frame: Frame, where: str) -> str:
    """Return all columns in one tensor, FP64 [rows, columns]."""
    if any(part.text for part in frame):
        raise TrainingError(f"{where}: expected numbers, got columns of text")
    if not frame:
        raise TrainingError(f"{where}: expected columns, got none")
    if len(frame) == 1:
        return frame[0].tensor
    return grow.node("Concat", *(part.tensor for part in frame), axis=1)


def single(grow: Growth, frame: Frame) -> Frame:
    """Return the same columns, one a part."""
    return tuple(part for column in range(width(frame)) for part in taken(grow, frame, [column]))

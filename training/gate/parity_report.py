"""What the parity gate found."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from falaj.training.gate.comparison import Bounds, OutputParity

_SHOWN_VALUES = 12  # of an array in a line
_SHOWN_TEXT = 40  # characters


@dataclass(frozen=True)
class Offence:
    """A row that the export answers otherwise, or not.

    Attributes:
        where: Which rows it is one of, and its index there.
        why: Which output, and what is wrong with it.
        inputs, original, export: The row and both answers, as Python values; no answer is None.
    """

    where: str
    why: str
    inputs: Mapping[str, Any]
    original: Mapping[str, Any] | None
    export: Mapping[str, Any] | None

    def __str__(self) -> str:
        given = ", ".join(f"{name}={_short(value)}" for name, value in self.inputs.items())
        was = "no answer" if self.original is None else _answer(self.original)
        now = "no answer" if self.export is None else _answer(self.export)
        return f"{self.where}: {self.why}: original {was}; export {now}; of {given}"


@dataclass(frozen=True)
class SetParity:
    """One set of rows.

    Attributes:
        kind: What the rows are.
        rows: How many.
        compared: Those that both answered.
        refused: Those that the original refuses, which are not compared; `refusal` is what it says of one.
        answered_anyway: Those of them that the export answers.
        failed: Rows that the original answers and the export does not.
        alone: Rows that were also answered by a run of their own; `alone_differs`: those with another answer.
        places: Steps from a number to the next over which the answers were held against each other, and
            `misplaced`: those over which only one of the two changes.
        excused: Rows beyond the bounds that do not count: so much the original's answer moves by rounding.
        binding: Whether a difference refuses the export.
    """

    kind: str
    rows: int
    compared: int
    outputs: tuple[OutputParity, ...]
    refused: int = 0
    refusal: str = ""
    answered_anyway: int = 0
    failed: int = 0
    alone: int = 0
    alone_differs: int = 0
    places: int = 0
    misplaced: int = 0
    excused: int = 0
    binding: bool = True

    @property
    def wrong(self) -> int:
        """Rows and places that are not as they should be; a row once for each output."""
        outputs = sum(output.wrong for output in self.outputs)
        return outputs + self.failed + self.alone_differs + self.misplaced

    def __str__(self) -> str:
        told = f"{self.kind}: {self.compared:,} rows compared"
        numbers = [output for output in self.outputs if output.role != "label"]
        labels = [output for output in self.outputs if output.role == "label"]
        if numbers and self.compared:
            told += f", max abs error {max(output.max_abs for output in numbers):.2g}"
            told += f", rel {max(output.max_rel for output in numbers):.2g}"
            correlations = [of.rank_correlation for of in numbers if of.rank_correlation is not None]
            told += f", rank correlation {min(correlations):.6g}" if correlations else ""
        if labels:
            told += f", {sum(output.flips for output in labels)} label flips"
            told += f" ({sum(output.near_ties for output in labels)} near-ties)"
        if self.places:
            told += f", {self.misplaced} of {self.places:,} steps misplaced"
        if self.refused:
            told += f"; the original refuses {self.refused:,}"
            told += f", the export answers {self.answered_anyway:,} of them"
        return told + ("" if self.binding or not self.wrong else "; differences are told and do not bind")


@dataclass(frozen=True)
class ParityReport:
    """Whether an export answers as its original, and what was compared.

    Attributes:
        passed: No reason against it was found.
        reasons: Sentences, one for each thing that is wrong.
        sets: The first is the training rows.
        offences: Some of the rows that are wrong.
        notes: What was tried only in part, and what does not bind.
        seconds: How long it took.
    """

    passed: bool
    reasons: tuple[str, ...]
    sets: tuple[SetParity, ...]
    offences: tuple[Offence, ...]
    notes: tuple[str, ...]
    bounds: Bounds
    seed: int
    seconds: float

    @property
    def rows(self) -> int:
        """Rows that were compared, of all sets."""
        return sum(each.compared for each in self.sets)

    def plain(self) -> dict[str, Any]:
        """Return the report as `bundle.json` has it: of JSON's types, NaN and infinities as text."""
        return {
            "passed": self.passed,
            "reasons": list(self.reasons),
            "bounds": asdict(self.bounds),
            "seed": self.seed,
            "seconds": round(self.seconds, 3),
            "notes": list(self.notes),
            "sets": [_json(asdict(each)) for each in self.sets],
            "offences": [_json(asdict(each)) for each in self.offences],
        }

    def lines(self) -> Iterator[str]:
        """Yield the report for a terminal."""
        verdict = "answers as its original" if self.passed else "does not answer as its original"
        yield f"parity: the export {verdict}: {self.rows:,} rows compared in {self.seconds:.1f} s"
        for kind, sentences in (("refused", self.reasons), ("note", self.notes)):
            yield from (f"  {kind}: {sentence}" for sentence in sentences)
        yield from (f"  {each}" for each in self.sets)
        yield from (f"  row: {each}" for each in self.offences)


def plain_row(arrays: Mapping[str, Any], row: int) -> dict[str, Any]:
    """Return one row of arrays as Python values."""
    return {
        name: array[row].tolist() if array.ndim > 1 else _item(array[row]) for name, array in arrays.items()
    }


def _item(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_json(each) for each in value]
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return value


def _answer(answer: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={_short(value)}" for name, value in answer.items())


def _short(value: Any) -> str:
    if isinstance(value, list):
        shown = ", ".join(_short(each) for each in value[:_SHOWN_VALUES])
        return f"[{shown}{', ...' if len(value) > _SHOWN_VALUES else ''}]"
    if isinstance(value, float):
        return f"{value:.9g}"
    if isinstance(value, str):
        return repr(value if len(value) <= _SHOWN_TEXT else value[:_SHOWN_TEXT] + "...")
    return str(value)

"""An export, served by Falaj's own engine from a repository made for it; and its original, asked alike."""

import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import falaj
from falaj.training.datatypes import dtype_of
from falaj.training.gate.rows import Indices, count, take
from falaj.training.original import Arrays, Original

if TYPE_CHECKING:
    import onnx

_BATCHED, _ALONE = "batched", "alone"
_CHUNK = 8192  # rows of a request
_IN_FLIGHT = 1024  # requests handed over at once; the engine's queue takes 4096
_SETTINGS = {_BATCHED: "tune_ms = 0\n", _ALONE: "tune_ms = 0\nmax_batch_size = 0\n"}


@dataclass(frozen=True)
class Answers:
    """What a model said to rows.

    Attributes:
        arrays: By output, [rows, *shape]; what stands in rows that were not answered means nothing.
        answered: BOOL [rows].
        why: What was said to a row that was not answered, by its index, of some such rows.
    """

    arrays: Arrays
    answered: NDArray[np.bool_]
    why: dict[int, str]


class ServedExport:
    """The export in an engine, once as it would be served and once with every request run by itself."""

    def __init__(self, engine: falaj.Engine, original: Original) -> None:
        self._engine, self._original = engine, original
        self.told: dict[str, Any] = engine.describe(_BATCHED)

    def batch(self, rows: Arrays) -> dict[str, NDArray[Any]]:
        """Answer all rows in one request. Raises falaj.Error."""
        return self._decoded(self._engine.infer(_BATCHED, dict(rows)))

    def requests(self, rows: Arrays, sizes: Sequence[int]) -> dict[str, NDArray[Any]]:
        """Answer the rows in requests of these sizes, which the engine puts together as it does.

        Raises falaj.Error.
        """
        edges = np.cumsum([0, *sizes])
        slices = [slice(int(a), int(b)) for a, b in pairwise(edges)]
        return _joined(self._many(_BATCHED, [take(rows, which) for which in slices]))

    def alone(self, rows: Arrays) -> Answers:
        """Answer each row by a run of its own."""
        one_by_one = [take(rows, slice(i, i + 1)) for i in range(count(rows))]
        parts = self._many(_ALONE, one_by_one, return_exceptions=True)
        why = {i: str(part) for i, part in enumerate(parts) if isinstance(part, Exception)}
        blank = next((part for i, part in enumerate(parts) if i not in why), None)
        if blank is None:
            return Answers(empty(self._original, len(parts)), np.zeros(len(parts), bool), why)
        answered = np.array([i not in why for i in range(len(parts))], bool)
        return Answers(_joined([blank if i in why else part for i, part in enumerate(parts)]), answered, why)

    def answer(self, rows: Arrays) -> Answers:
        """Answer rows in large batches; where one fails, its rows alone."""
        parts = []
        for first in range(0, count(rows), _CHUNK):
            chunk = take(rows, slice(first, first + _CHUNK))
            try:
                parts.append(Answers(self.batch(chunk), np.ones(count(chunk), bool), {}))
            except falaj.Error:
                parts.append(self.alone(chunk))
        return _put_together(self._original, parts)

    def _many(
        self, model: str, requests: Sequence[dict[str, NDArray[Any]]], return_exceptions: bool = False
    ) -> list[Any]:
        parts: list[Any] = []
        for first in range(0, len(requests), _IN_FLIGHT):
            some = requests[first : first + _IN_FLIGHT]
            parts += self._engine.infer_many(model, some, return_exceptions=return_exceptions)
        return [part if isinstance(part, Exception) else self._decoded(part) for part in parts]

    def _decoded(self, answer: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return {output.name: _text(answer[output.name]) for output in self._original.outputs}


@contextmanager
def served(original: Original, model: "onnx.ModelProto") -> Iterator[ServedExport]:
    """Serve an export. Raises falaj.Error where the engine does not load it."""
    data = model.SerializeToString()
    with tempfile.TemporaryDirectory(prefix="falaj-parity-") as root:
        for name, settings in _SETTINGS.items():
            folder = Path(root) / name / "1"
            folder.mkdir(parents=True)
            (folder / "model.onnx").write_bytes(data)
            (folder.parent / "model.toml").write_text(settings, encoding="utf-8")
        with falaj.Engine(root, strict=True) as engine:
            yield ServedExport(engine, original)


def ask_original(original: Original, rows: Arrays, group: Indices) -> Answers:
    """Answer rows by the original's own library; rows that it raises an exception for are not answered.

    Where a batch is refused, it is tried by groups, and then row by row, unless the group's first row is
    refused too: then all of the group counts as refused.
    """
    asking = _Asking(original, rows, empty(original, count(rows)), np.zeros(count(rows), bool), {})
    for first in range(0, count(rows), _CHUNK):
        chunk = np.arange(first, min(first + _CHUNK, count(rows)))
        if asking.settle(chunk):
            continue
        for value in np.unique(group[chunk]):
            some = chunk[group[chunk] == value]
            if asking.settle(some) or some.size == 1:
                continue
            if asking.settle(some[:1]):
                for i in range(1, some.size):
                    asking.settle(some[i : i + 1])
            else:
                asking.why.update(dict.fromkeys(some.tolist(), asking.why[int(some[0])]))
    return Answers(asking.arrays, asking.answered, asking.why)


@dataclass(frozen=True)
class _Asking:
    original: Original
    rows: Arrays
    arrays: dict[str, NDArray[Any]]
    answered: NDArray[np.bool_]
    why: dict[int, str]

    def settle(self, which: Indices) -> bool:
        """Take in the answers to some rows; return whether they were answered."""
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                answers = self.original.predict(take(self.rows, which))
        except Exception as error:  # whatever it raises: it refuses these rows
            if which.size == 1:
                self.why[int(which[0])] = _sentence(error)
            return False
        for output in self.original.outputs:
            self.arrays[output.name][which] = answers[output.name]
        self.answered[which] = True
        return True


def empty(original: Original, rows: int) -> dict[str, NDArray[Any]]:
    """Return arrays in place of answers that are not there."""
    return {o.name: np.zeros((rows, *o.shape), dtype_of(o.datatype)) for o in original.outputs}


def _text(array: NDArray[Any]) -> NDArray[Any]:
    """BYTES as text, so that answers can be compared; invalid UTF-8 as what no text has."""
    if array.dtype != np.object_:
        return array
    decoded = np.empty(array.shape, object)
    decoded.ravel()[:] = [
        item.decode("utf-8", "backslashreplace") if isinstance(item, bytes) else item
        for item in array.ravel()
    ]
    return decoded


def _joined(parts: Sequence[Arrays]) -> dict[str, NDArray[Any]]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _put_together(original: Original, parts: Sequence[Answers]) -> Answers:
    if not parts:
        return Answers(empty(original, 0), np.zeros(0, bool), {})
    why, first = {}, 0
    for part in parts:
        why.update({first + i: text for i, text in part.why.items()})
        first += part.answered.size
    arrays = _joined([part.arrays for part in parts])
    return Answers(arrays, np.concatenate([part.answered for part in parts]), why)


def _sentence(error: Exception) -> str:
    """The first line of what an error says, in a readable length."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"

"""The parity gate: proves that an export, run by Falaj's own engine, answers as its original.

The rules and their limits are in docs/decisions/0031.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from falaj._core import Error
from falaj.training.datatypes import dtype_of
from falaj.training.errors import ExportRefused
from falaj.training.gate.boundaries import Tried, bisected_windows, threshold_windows
from falaj.training.gate.comparison import DEFAULT, Bounds, Mask, OutputParity, compare
from falaj.training.gate.conditioning import own_moves
from falaj.training.gate.engine_answers import Answers, ServedExport, ask_original, served
from falaj.training.gate.graph_features import Graph
from falaj.training.gate.hostile import MOST_COLUMNS, combined_sets, hostile_sets
from falaj.training.gate.node_rows import node_windows
from falaj.training.gate.parity_report import Offence, ParityReport, SetParity, plain_row
from falaj.training.gate.rows import Indices, RowSet, count, flat, take
from falaj.training.gate.tree_nodes import only_compares
from falaj.training.original import Arrays, Original
from falaj.training.recurrent import has_recurrent_layer

if TYPE_CHECKING:
    import onnx

_BOUNDARY_ROWS = 100_000  # of the original's thresholds, and as many of the graph's nodes
_ALONE = 50_000  # rows of a set that are also run alone
_SIZES = (1, 2, 3, 7, 16, 33, 64, 127, 256, 1000)  # rows of a request, in turns
_SHOWN = 5  # rows of a set that are shown for each output
Compared = tuple[OutputParity, ...]
Wrong = dict[str, Mask]
_EPSILON = float(np.finfo(np.float32).eps)


def check_parity(
    original: Original,
    model: "onnx.ModelProto",
    rows: Arrays,
    *,
    bounds: Bounds = DEFAULT,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> ParityReport:
    """Hold an export against its original, on training rows and on hostile rows made of them.

    Args:
        rows: Training rows, by the original's inputs; at least one.
        bounds: How far numbers may differ.
        seed: Of what is chosen at random, which is told in the report where it is not all.
        progress: Is told what is being compared.

    Raises:
        ExportRefused: The rows are none, or not those of the original's inputs, or it refuses one itself.
    """
    began = time.perf_counter()
    _check_rows(original, rows)
    work = _Gate(original, model, rows, bounds, np.random.default_rng(seed), progress)
    try:
        with served(original, model) as export:
            work.run(export)
    except ExportRefused:
        raise
    except Error as error:
        work.reasons.append(f"the engine does not serve the export: {error}")
    return ParityReport(
        passed=not work.reasons,
        reasons=tuple(work.reasons),
        sets=tuple(work.sets),
        offences=tuple(work.offences),
        notes=tuple(work.notes),
        bounds=work.bounds,
        seed=seed,
        seconds=time.perf_counter() - began,
    )


def require_parity(
    original: Original,
    model: "onnx.ModelProto",
    rows: Arrays,
    *,
    bounds: Bounds = DEFAULT,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> ParityReport:
    """Return the report of `check_parity`. Raises ExportRefused, with reasons and rows, where it failed."""
    report = check_parity(original, model, rows, bounds=bounds, seed=seed, progress=progress)
    if not report.passed:
        named = f"{original.origin}: " if original.origin else ""
        shown = [f"\n  {each}" for each in report.offences[:_SHOWN]]
        raise ExportRefused(f"{named}{'; '.join(report.reasons)}{''.join(shown)}")
    return report


@dataclass
class _Gate:
    """One run of the gate; the lists are what it has found so far."""

    original: Original
    model: "onnx.ModelProto"
    rows: Arrays
    bounds: Bounds
    rng: np.random.Generator
    progress: Callable[[str], None] | None
    reasons: list[str] = field(default_factory=list)
    sets: list[SetParity] = field(default_factory=list)
    offences: list[Offence] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    rounding: float = 0.0  # of the trees' sums; steps that are no larger may be lost

    def run(self, export: ServedExport) -> None:
        self.reasons += _mismatches(self.original, export.told)
        if self.reasons:
            return
        self._check_no_rows(export)
        stepped = only_compares(self.model)
        graph = Graph(self.model, self.original)
        if stepped:
            self.rounding = 4 * _EPSILON * graph.largest_sum(self.rows)
        training = RowSet("training rows", self.rows, np.zeros(count(self.rows), np.int64))
        self._compare(export, training, stepped)
        if self.sets[0].refused:
            raise ExportRefused(
                f"the original refuses {self.sets[0].refused} of its training rows: {self.sets[0].refusal}"
            )
        self._check_requests(export)
        for name, array in self.rows.items():
            if (width := flat(array).shape[1]) > MOST_COLUMNS:
                some = f"a random {MOST_COLUMNS} of {width} columns"
                self.notes.append(f"input {name!r}: hostile values in {some}")
        for each in hostile_sets(self.original, self.rows, self.rng, compares=stepped):
            self._compare(export, each, stepped)
        refused = {each.kind for each in self.sets if each.refused * 4 > each.rows}
        for each in combined_sets(self.original, self.rows, self.rng, refused):
            self._compare(export, each, stepped)
        for each in self._boundaries(graph):
            self._compare(export, each, stepped)

    def _boundaries(self, graph: Graph) -> list[RowSet]:
        self._tell("finding boundaries")
        rows, rng = self.rows, self.rng
        at_thresholds, tried = threshold_windows(self.original, rows, rng, _BOUNDARY_ROWS)
        at_nodes, nodes_tried = node_windows(graph, self.original, rows, rng, _BOUNDARY_ROWS)
        sets = [at_thresholds, *at_nodes]
        told: list[Tried] = [tried, nodes_tried]
        if not self.original.thresholds:
            bisected, changes = bisected_windows(self.original, rows, rng)
            sets.append(bisected)
            told.append(changes)
        self.notes += [f"boundaries: {each}" for each in told if each.there]
        return [each for each in sets if each is not None]

    def _compare(self, export: ServedExport, rows: RowSet, stepped: bool) -> None:
        self._tell(rows.kind)
        was = ask_original(self.original, rows.rows, rows.group)
        now = export.answer(rows.rows)
        both = np.flatnonzero(was.answered & now.answered)
        a, b = take(was.arrays, both), take(now.arrays, both)
        outputs, wrong = compare(self.original, self.bounds, a, b)
        excused = 0
        if rows.far and not stepped:
            outputs, wrong, excused = self._excuse(take(rows.rows, both), a, b, outputs, wrong)
        failed = np.flatnonzero(was.answered & ~now.answered)
        alone, differs = self._alone(export, rows, now, was.answered, rows.far and not stepped)
        places, misplaced = self._misplaced(rows, was, now) if stepped else (0, np.zeros(0, np.int64))
        found = SetParity(
            rows.kind,
            count(rows.rows),
            both.size,
            outputs,
            refused=int((~was.answered).sum()),
            refusal=next(iter(was.why.values()), ""),
            answered_anyway=int((~was.answered & now.answered).sum()),
            failed=failed.size,
            alone=alone,
            alone_differs=differs.size,
            places=places,
            misplaced=misplaced.size,
            excused=excused,
            binding=rows.binding,
        )
        self.sets.append(found)
        marked = {f"output {name!r}": both[mask] for name, mask in wrong.items()}
        marked["not answered by the export"] = failed
        marked["answered otherwise when alone"] = differs
        marked["the answer changes elsewhere than the original's"] = misplaced
        self._judge(found, now)
        if rows.binding:
            self._show(rows, marked, was, now)

    def _excuse(
        self, rows: Arrays, was: Arrays, now: Arrays, outputs: Compared, wrong: Wrong
    ) -> tuple[Compared, Wrong, int]:
        """Compare again; allow what the original's own answers to wrong rows move by rounding."""
        which = np.flatnonzero(np.any([*wrong.values()], axis=0))
        if not which.size:
            return outputs, wrong, 0
        moves = own_moves(self.original, take(rows, which), take(was, which), self.rng)
        allowed = {}
        for name, move in moves.items():
            allowed[name] = np.zeros(flat(was[name]).shape)
            allowed[name][which] = move
        outputs, still = compare(self.original, self.bounds, was, now, allowed)
        return outputs, still, which.size - int(np.any([*still.values()], axis=0).sum())

    def _judge(self, found: SetParity, now: Answers) -> None:
        """Turn what is wrong in a set into sentences, which are reasons or notes."""
        told = [_sentence(output, self.bounds) for output in found.outputs if output.wrong]
        if found.failed:
            told.append(f"{found.failed} rows are not answered: {next(iter(now.why.values()), '')}")
        if found.alone_differs:
            told.append(f"{found.alone_differs} of {found.alone} rows are answered otherwise when alone")
        if found.misplaced:
            told.append(
                f"the answer changes at another number than the original's "
                f"at {found.misplaced} of {found.places} steps"
            )
        (self.reasons if found.binding else self.notes).extend(f"{found.kind}: {each}" for each in told)
        if found.excused:
            self.notes.append(
                f"{found.kind}: {found.excused} rows beyond the bounds do not count: "
                f"so much the original's own answer moves by rounding"
            )
        if found.answered_anyway:
            self.notes.append(
                f"{found.kind}: the original refuses {found.refused} rows ({found.refusal}), "
                f"of which the export answers {found.answered_anyway}"
            )

    def _show(self, rows: RowSet, marked: dict[str, Indices], was: Answers, now: Answers) -> None:
        """Keep some rows, a few for each thing that is wrong with them."""
        shown: dict[int, list[str]] = {}
        for why, which in marked.items():
            for row in which[:_SHOWN].tolist():
                shown.setdefault(row, []).append(why)
        for row, whys in shown.items():
            self.offences.append(
                Offence(
                    where=f"{rows.kind}, row {row}",
                    why=", ".join(whys),
                    inputs=plain_row(rows.rows, row),
                    original=plain_row(was.arrays, row) if was.answered[row] else None,
                    export=plain_row(now.arrays, row) if now.answered[row] else None,
                )
            )

    def _alone(
        self, export: ServedExport, rows: RowSet, now: Answers, wanted: Mask, rounds: bool
    ) -> tuple[int, Indices]:
        """Answer rows one by one; return how many, and those that a batch answered otherwise."""
        which = np.flatnonzero(now.answered & wanted)
        if which.size > _ALONE:
            self.notes.append(f"{rows.kind}: alone, a random {_ALONE:,} of {which.size:,} rows were run")
            which = np.sort(self.rng.choice(which, _ALONE, replace=False))
        alone = export.alone(take(rows.rows, which))
        batched = take(now.arrays, which)
        outputs, wrong = compare(self.original, self.bounds, batched, alone.arrays)
        if rounds:
            some = take(rows.rows, which)
            _, wrong, _ = self._excuse(some, batched, alone.arrays, outputs, wrong)
        off = ~alone.answered
        for mask in wrong.values():
            off = off | mask
        return which.size, which[off]

    def _misplaced(self, rows: RowSet, was: Answers, now: Answers) -> tuple[int, Indices]:
        """Return over how many steps in windows both answers are known, and the rows before those over which
        one answer changes by more than rounding and the other not at all."""
        size = count(rows.rows)
        if rows.window == 1:
            return 0, np.zeros(0, np.int64)
        inside = np.arange(1, size) % rows.window != 0
        known = was.answered & now.answered
        known = known[1:] & known[:-1] & inside
        off = np.zeros(size - 1, bool)
        for output in self.original.outputs:
            if output.role == "label":
                continue
            a, b = (flat(each.arrays[output.name]).astype(np.float64) for each in (was, now))
            with np.errstate(invalid="ignore"):
                changed, also = (np.abs(np.diff(each, axis=0)).max(axis=1, initial=0.0) for each in (a, b))
                scale = np.abs(a[known.nonzero()[0]]).max(initial=0.0) if output.role == "value" else 1.0
            rounding = max(self.rounding, 4 * _EPSILON * float(np.nan_to_num(scale)))
            off |= ((changed > rounding) & (also == 0)) | ((also > rounding) & (changed == 0))
        return int(known.sum()), np.flatnonzero(off & known)

    def _check_no_rows(self, export: ServedExport) -> None:
        none = take(self.rows, slice(0, 0))
        was = self.original.predict(none)
        try:
            now = export.batch(none)
        except Error as error:
            told = f"no rows: the export does not answer a request of none: {error}"
            # The engine refuses these by rule: ONNX Runtime would end the process.
            (self.notes if has_recurrent_layer(self.model.SerializeToString()) else self.reasons).append(told)
            return
        for output in self.original.outputs:
            a, b = was[output.name], now[output.name]
            if a.shape != b.shape:
                self.reasons.append(
                    f"no rows: output {output.name!r}: expected shape {list(a.shape)}, got {list(b.shape)}"
                )

    def _check_requests(self, export: ServedExport) -> None:
        """Answer the training rows in requests of many sizes, as the engine puts them together."""
        self._tell("training rows in requests of many sizes")
        total = count(self.rows)
        sizes: list[int] = []
        while sum(sizes) < total:
            sizes.append(min(_SIZES[len(sizes) % len(_SIZES)], total - sum(sizes)))
        whole = export.answer(self.rows).arrays
        try:
            parts = export.requests(self.rows, sizes)
        except Error as error:
            self.reasons.append(f"requests of {_SIZES[0]} to {max(sizes)} rows: {error}")
            return
        outputs, _ = compare(self.original, self.bounds, whole, parts)
        self.reasons += [
            f"requests of 1 to {max(sizes)} rows, held against one of all: {_sentence(output, self.bounds)}"
            for output in outputs
            if output.wrong
        ]

    def _tell(self, what: str) -> None:
        if self.progress is not None:
            self.progress(what)


def _check_rows(original: Original, rows: Arrays) -> None:
    for given in original.inputs:
        array = rows.get(given.name)
        if array is None:
            raise ExportRefused(f"rows: expected input {given.name!r}, got {', '.join(rows) or 'none'}")
        dtype = dtype_of(given.datatype)
        if array.shape[1:] != given.shape or array.dtype != dtype:
            raise ExportRefused(
                f"rows, input {given.name!r}: expected {given.datatype} {['rows', *given.shape]}, "
                f"got {array.dtype} {list(array.shape)}"
            )
    if not count(rows):
        raise ExportRefused("rows: expected at least one, got none")


def _mismatches(original: Original, told: dict[str, Any]) -> list[str]:
    """What inputs and outputs of the served export are not those of the original."""
    found = []
    for kind, wanted in (("input", original.inputs), ("output", original.outputs)):
        there = {each["name"]: each for each in told[f"{kind}s"]}
        for each in wanted:
            if each.name not in there:
                found.append(f"{kind} {each.name!r}: the export has {', '.join(there)}")
                continue
            got, expected = there[each.name], [-1, *each.shape]
            same = len(got["shape"]) == len(expected) and all(
                b in (-1, a) for a, b in zip(expected, got["shape"], strict=True)
            )
            if got["datatype"] != each.datatype or not same:
                found.append(
                    f"{kind} {each.name!r}: expected {each.datatype} {expected}, "
                    f"the export has {got['datatype']} {got['shape']}"
                )
        if kind == "input" and (more := set(there) - {each.name for each in wanted}):
            found.append(f"input {', '.join(sorted(more))}: the original has none of this name")
    return found


def _sentence(output: OutputParity, bounds: Bounds) -> str:
    if output.role == "label":
        near = f", {output.near_ties} of them near-ties" if output.near_ties else ""
        return f"output {output.output!r}: {output.flips} of {output.rows} labels are others{near}"
    allowed = f"{bounds.abs:g}" + (f" + {bounds.rel:g} of the value" if output.role == "value" else "")
    told = f"output {output.output!r}: {output.wrong} of {output.rows} rows are further than {allowed} away"
    told += f", at most {output.max_abs:.3g}"
    return told + (f"; {output.not_finite} are NaN or infinite in one only" if output.not_finite else "")

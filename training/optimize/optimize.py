"""Makes variants of a model, and keeps the best of those that answer as well and are faster."""

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from falaj import _core
from falaj.training.errors import TrainingError
from falaj.training.optimize.bounds import Bounds, SpeedRules
from falaj.training.optimize.candidate import (
    Candidate,
    check_rows,
    chosen,
    open_candidate,
    rows_of,
    taken,
)
from falaj.training.optimize.decision import decide, merit
from falaj.training.optimize.machine import machine
from falaj.training.optimize.metric import Loss, Metric, answer_for, loss_of
from falaj.training.optimize.quality import Quality, agreement_of, failures
from falaj.training.optimize.quiet import without_folder
from falaj.training.optimize.report import OriginalReport, Report, VariantReport
from falaj.training.optimize.speed import Samples, measure, rules_for, speeds_alone, speeds_of
from falaj.training.optimize.split import split
from falaj.training.optimize.trial import try_apart
from falaj.training.optimize.variants import NotApplicable, Start, Variant, chosen_variants, prepare
from falaj.training.original import Arrays

if TYPE_CHECKING:
    from onnx import ModelProto

Tell = Callable[[float], None]
_TRIAL_ROWS = 8
_MAKING = 0.6  # share of the time, about
_ORIGINAL = "original"


@dataclass(frozen=True)
class Optimized:
    """The variant that is worth it, if one is, and what was found of all.

    Attributes:
        model: Its metadata says which variant of what it is, and where it is not portable for which machine.
    """

    model: "ModelProto | None"
    report: Report


@dataclass(frozen=True)
class Truth:
    """What the rows' right answers are, [rows], and what is measured by them.

    Attributes:
        output: The output that the metric is of; None where only one will do.
    """

    labels: NDArray[Any]
    metric: Metric
    output: str | None = None


def optimize(
    model: "ModelProto | Path",
    rows: Arrays,
    truth: Truth | None = None,
    *,
    calibration: Arrays | None = None,
    bounds: Bounds | None = None,
    rules: SpeedRules | None = None,
    variants: tuple[str, ...] | None = None,
    tell: Tell | None = None,
) -> Optimized:
    """Try variants of a model on rows, by the server's own core.

    A variant is kept only if what it loses is inside every bound, on rows that it was not calibrated with,
    and it is faster at every decisive batch size in one run beside the original, as the server would run
    both: rows of a model whose answers change with the other rows of a batch run alone.

    Args:
        model: Its first dimensions are the rows.
        rows: By the names of its inputs, [rows, ...]; like those that will be served.
        calibration: For the ranges of static INT8, training rows; by default a quarter of `rows`, 256 at
            most, drawn once; the others are then what answers are compared on, 10,000 at most.
        variants: Names; by default all that are right on any machine.
        tell: Called with the share that is done.

    Raises:
        TrainingError: The model does not load, the rows are not its, are too few, or their answers have
            nothing that the metric is of.
        falaj errors: The model fails on them.
    """
    bounds, rules = bounds or Bounds(), rules or SpeedRules()
    report_share = tell or (lambda share: None)
    kinds = chosen_variants(variants)
    with tempfile.TemporaryDirectory(prefix="falaj-optimize-") as name:
        source, sha256, size = _saved(model, Path(name))
        original = open_candidate(source, Path(name) / _ORIGINAL)
        start, held = _begun(original, source, rows, truth, calibration)
        tried = _tried(kinds, start, held, lambda share: report_share(_MAKING * share))
        candidates = {_ORIGINAL: original}
        candidates |= {found.name: opened for found, opened in tried if opened is not None}
        rules = rules_for(original, rules)
        samples = measure(
            candidates, held.rows, rules, lambda share: report_share(_MAKING + (1 - _MAKING) * share)
        )
        judged = _judged([found for found, _ in tried], samples, bounds, rules)
        told = Report(
            kept=next((of.name for of in judged if of.outcome == "kept"), None),
            original=OriginalReport(
                size, sha256, original.batchable, original.load_ms, speeds_alone(samples[_ORIGINAL])
            ),
            variants=judged,
            calibration_rows=rows_of(start.calibration),
            evaluation_rows=rows_of(held.rows),
            bounds=bounds,
            rules=rules,
            machine=machine(),
        )
        return Optimized(None if told.kept is None else _kept(candidates[told.kept].path, told), told)


@dataclass(frozen=True)
class Sound:
    """The variants of a model that answer as well as it does, whatever their speed.

    Attributes:
        files: By name; in the folder that was given.
        report: Of all that were made, without speeds.
    """

    files: dict[str, Path]
    report: Report

    def keep(self, name: str) -> Optimized:
        """Return one of them as `optimize` does."""
        variants = tuple(
            replace(of, outcome="kept") if of.name == name else of for of in self.report.variants
        )
        told = replace(self.report, kept=name, variants=variants)
        return Optimized(_kept(self.files[name], told), told)


def sound_variants(
    model: Path,
    rows: Arrays,
    truth: Truth | None = None,
    *,
    folder: Path,
    calibration: Arrays | None = None,
    bounds: Bounds | None = None,
    variants: tuple[str, ...] | None = None,
    tell: Tell | None = None,
) -> Sound:
    """Make variants of a model, and keep those that are inside every bound: as `optimize`, but for speed.

    Args:
        folder: Where they are put; is there, and empty.

    Raises:
        TrainingError, falaj errors: As `optimize`.
    """
    bounds = bounds or Bounds()
    source, sha256, size = _saved(model, folder)
    original = open_candidate(source, folder / _ORIGINAL)
    start, held = _begun(original, source, rows, truth, calibration)
    judged, files = [], {}
    for found, opened in _tried(chosen_variants(variants), start, held, tell or (lambda share: None)):
        reasons = failures(found.quality, bounds) if found.quality else ()
        if opened is not None and not reasons:
            files[found.name] = opened.path
        judged.append(replace(found, outcome="rejected", reasons=tuple(reasons)) if reasons else found)
    told = Report(
        kept=None,
        original=OriginalReport(size, sha256, original.batchable, original.load_ms, ()),
        variants=tuple(judged),
        calibration_rows=rows_of(start.calibration),
        evaluation_rows=rows_of(held.rows),
        bounds=bounds,
        rules=SpeedRules(),
        machine=machine(),
    )
    return Sound(files, told)


@dataclass(frozen=True)
class _Held:
    """What variants are compared on: rows, the original's answers, and what is true of them."""

    rows: Arrays
    answers: Mapping[str, NDArray[Any]]
    truth: Truth | None


def _begun(
    original: Candidate, source: Path, rows: Arrays, truth: Truth | None, calibration: Arrays | None
) -> tuple[Start, _Held]:
    check_rows(original, rows)
    if truth is not None and truth.labels.shape != (rows_of(rows),):
        raise TrainingError(f"labels: expected [{rows_of(rows)}], one a row, got {list(truth.labels.shape)}")
    learn, places = split(rows, calibration)
    check_rows(original, learn)
    held = chosen(rows, places)
    answers = original.answers(held)
    if truth is not None:
        truth = replace(truth, labels=truth.labels[places])
        _loss(truth, answers, answers)  # refused now rather than when variants were made
    folder = source.parent
    start = Start(source, prepare(source, folder), learn, original.answers(learn), folder)
    return start, _Held(held, answers, truth)


def _tried(
    kinds: tuple[Variant, ...], start: Start, held: _Held, tell: Tell
) -> list[tuple[VariantReport, Candidate | None]]:
    """Of each kind what was found up to its speed, and the candidate, if it is one."""
    tried: list[tuple[VariantReport, Candidate | None]] = []
    for place, kind in enumerate(kinds):
        found, opened = _made(kind, start), None
        if found.outcome == "passed":
            found, opened = _opened(found, start, held)
        tried.append((found, opened))
        tell((place + 1) / len(kinds))
    return tried


def _saved(model: "ModelProto | Path", folder: Path) -> tuple[Path, str, int]:
    """(where it is as one file, the SHA-256 of what was given, its bytes)."""
    try:
        import onnx
    except ImportError as error:
        raise TrainingError("optimizing needs onnx: pip install 'falaj[training]'") from error
    path = folder / "model.onnx"
    try:
        if isinstance(model, Path):
            given = model.read_bytes()
            onnx.save(onnx.load(model), path)  # with what it keeps in other files
        else:
            given = model.SerializeToString()
            path.write_bytes(given)
    except Exception as error:  # protobuf's, of what is no model, or larger than 2 GB
        where = model if isinstance(model, Path) else "model"
        raise TrainingError(f"{where}: expected an ONNX model of at most 2 GB: {error}") from error
    return path, hashlib.sha256(given).hexdigest(), len(given)


def _made(kind: Variant, start: Start) -> VariantReport:
    path = start.folder / f"{kind.name}.onnx"
    try:
        how = kind.make(start, path)
    except NotApplicable as error:
        return VariantReport(kind.name, "not applicable", (str(error),), portable=kind.portable)
    except Exception as error:  # whatever the libraries raise of a model that they cannot convert
        why = f"{type(error).__name__}: {without_folder(str(error), start.folder)}"
        return VariantReport(kind.name, "failed", (why,), portable=kind.portable)
    content = path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    return VariantReport(
        kind.name, "passed", how=how, bytes=len(content), sha256=sha256, portable=kind.portable
    )


def _opened(found: VariantReport, start: Start, held: _Held) -> tuple[VariantReport, Candidate | None]:
    """Load a variant and compare its answers."""
    path = start.folder / f"{found.name}.onnx"
    try:
        try_apart(path, taken(start.calibration, 0, _TRIAL_ROWS), start.folder)
        opened = open_candidate(path, start.folder / found.name)
        given = opened.answers(held.rows)
        agreement = agreement_of(
            held.answers, given, scores_decide=held.truth is None or held.truth.metric != "rmse"
        )
    except (_core.Error, ValueError) as error:  # the engine's, or shapes that differ
        return replace(found, outcome="failed", reasons=(without_folder(str(error), start.folder),)), None
    loss = None if held.truth is None else _loss(held.truth, held.answers, given)
    quality = Quality(rows_of(held.rows), agreement, loss)
    return replace(found, batchable=opened.batchable, load_ms=opened.load_ms, quality=quality), opened


def _loss(truth: Truth, original: Mapping[str, NDArray[Any]], variant: Mapping[str, NDArray[Any]]) -> Loss:
    first, second = (answer_for(truth.metric, each, truth.output) for each in (original, variant))
    return loss_of(truth.metric, truth.labels, first, second)


def _judged(
    reports: list[VariantReport],
    samples: Mapping[str, Mapping[int, Samples]],
    bounds: Bounds,
    rules: SpeedRules,
) -> tuple[VariantReport, ...]:
    judged: list[VariantReport] = []
    merits: dict[str, float] = {}
    for found in reports:
        if found.name not in samples:
            judged.append(found)
            continue
        speeds = speeds_of(samples[found.name], samples[_ORIGINAL], found.batchable, rules.confidence)
        ratios = {speed.rows: speed.served for speed in speeds if speed.served is not None}
        verdict = decide(failures(found.quality, bounds) if found.quality else (), ratios, rules)
        if verdict.passes:
            merits[found.name] = merit(ratios, rules)
        outcome = replace(found, speeds=speeds, reasons=verdict.reasons)
        judged.append(outcome if verdict.passes else replace(outcome, outcome="rejected"))
    best = max(merits, key=lambda name: merits[name]) if merits else None
    return tuple(replace(of, outcome="kept") if of.name == best else of for of in judged)


def _kept(path: Path, report: Report) -> "ModelProto":
    import onnx

    model = onnx.load(path)
    of = next(variant for variant in report.variants if variant.name == report.kept)
    told = {"falaj.variant": of.name, "falaj.original_sha256": report.original.sha256}
    if not of.portable:
        told["falaj.only_for"] = ", ".join(f"{name} {value}" for name, value in report.machine.items())
    for name, value in told.items():
        model.metadata_props.add(key=name, value=value)
    return model

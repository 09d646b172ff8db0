"""Makes variants of a model, and keeps the best of those that answer as well and are faster."""

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.errors import TrainingError
from falaj.training.export.original import Arrays
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
from falaj.training.optimize.metric import Metric, answer_for, loss_of
from falaj.training.optimize.quality import Quality, agreement_of, failures
from falaj.training.optimize.quiet import without_folder
from falaj.training.optimize.report import OriginalReport, Report, VariantReport
from falaj.training.optimize.speed import Samples, measure, rules_for, speeds_alone, speeds_of
from falaj.training.optimize.trial import try_apart
from falaj.training.optimize.variants import NotApplicable, Start, Variant, chosen_variants, prepare

if TYPE_CHECKING:
    from onnx import ModelProto

Tell = Callable[[float], None]
_MOST_CALIBRATION, _MOST_EVALUATION = 256, 10_000
_LEAST_ROWS, _TRIAL_ROWS = 64, 8
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
    """
    bounds, rules = bounds or Bounds(), rules or SpeedRules()
    report_share = tell or (lambda share: None)
    kinds = chosen_variants(variants)
    with tempfile.TemporaryDirectory(prefix="falaj-optimize-") as name:
        folder = Path(name)
        source, sha256, size = _saved(model, folder)
        original = open_candidate(source, folder / _ORIGINAL)
        check_rows(original, rows)
        learn, held, held_truth = _split(rows, truth, calibration)
        check_rows(original, learn)
        start = Start(source, prepare(source, folder), learn, original.answers(learn), folder)
        answers = original.answers(held)
        candidates: dict[str, Candidate] = {_ORIGINAL: original}
        reports: list[VariantReport] = []
        for place, kind in enumerate(kinds):
            found = _made(kind, start)
            if found.sha256:
                opened, found = _opened(found, start)
                if opened is not None:
                    found = _compared(found, opened, answers, held, held_truth)
                    candidates[kind.name] = opened
            reports.append(found)
            report_share(_MAKING * (place + 1) / len(kinds))
        rules = rules_for(original, rules)
        samples = measure(
            candidates, held, rules, lambda share: report_share(_MAKING + (1 - _MAKING) * share)
        )
        judged = _judged(reports, samples, bounds, rules)
        told = Report(
            kept=next((of.name for of in judged if of.outcome == "kept"), None),
            original=OriginalReport(
                size, sha256, original.batchable, original.load_ms, speeds_alone(samples[_ORIGINAL])
            ),
            variants=judged,
            calibration_rows=rows_of(learn),
            evaluation_rows=rows_of(held),
            bounds=bounds,
            rules=rules,
            machine=machine(),
        )
        return Optimized(None if told.kept is None else _kept(candidates[told.kept], told), told)


def _saved(model: "ModelProto | Path", folder: Path) -> tuple[Path, str, int]:
    """(where it is as one file, the SHA-256 of what was given, its bytes)."""
    import onnx

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


def _split(
    rows: Arrays, truth: Truth | None, calibration: Arrays | None
) -> tuple[Arrays, Arrays, Truth | None]:
    """(rows to calibrate with, rows to compare on, what is true of these)."""
    total = rows_of(rows)
    if total < _LEAST_ROWS:
        raise TrainingError(f"rows: expected {_LEAST_ROWS} at least, got {total}")
    if truth is not None and truth.labels.shape != (total,):
        raise TrainingError(f"labels: expected [{total}], one a row, got {list(truth.labels.shape)}")
    drawn = np.random.default_rng(0).permutation(total)
    count = 0 if calibration is not None else min(_MOST_CALIBRATION, total // 4)
    count -= count % 32 if count >= 32 else 0
    held = np.sort(drawn[count : count + _MOST_EVALUATION])
    if calibration is None:
        learn: Arrays = chosen(rows, np.sort(drawn[:count]))
    else:
        learn = _whole_strides(calibration)
    if truth is not None:
        truth = replace(truth, labels=truth.labels[held])
    return learn, chosen(rows, held), truth


def _whole_strides(calibration: Arrays) -> Arrays:
    """As many rows as the calibration reads without a rest, drawn from all."""
    total = rows_of(calibration)
    count = min(_MOST_CALIBRATION, total)
    count -= count % 32 if count >= 32 else 0
    if count < 1:
        raise TrainingError("calibration: expected rows, got none")
    return chosen(calibration, np.sort(np.random.default_rng(0).permutation(total)[:count]))


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


def _opened(found: VariantReport, start: Start) -> tuple[Candidate | None, VariantReport]:
    path = start.folder / f"{found.name}.onnx"
    try:
        try_apart(path, taken(start.calibration, 0, _TRIAL_ROWS), start.folder)
        opened = open_candidate(path, start.folder / found.name)
    except TrainingError as error:
        return None, replace(found, outcome="failed", reasons=(str(error),))
    return opened, replace(found, batchable=opened.batchable, load_ms=opened.load_ms)


def _compared(
    found: VariantReport,
    variant: Candidate,
    answers: Mapping[str, NDArray[Any]],
    held: Arrays,
    truth: Truth | None,
) -> VariantReport:
    given = variant.answers(held)
    scores_decide = truth is None or truth.metric != "rmse"
    agreement = agreement_of(answers, given, scores_decide)
    loss = None
    if truth is not None:
        first, second = (answer_for(truth.metric, each, truth.output) for each in (answers, given))
        loss = loss_of(truth.metric, truth.labels, first, second)
    return replace(found, quality=Quality(rows_of(held), agreement, loss))


def _judged(
    reports: list[VariantReport],
    samples: Mapping[str, Mapping[int, Samples]],
    bounds: Bounds,
    rules: SpeedRules,
) -> tuple[VariantReport, ...]:
    judged: list[VariantReport] = []
    merits: dict[str, float] = {}
    for found in reports:
        if found.name not in samples or found.quality is None:
            judged.append(found)
            continue
        speeds = speeds_of(samples[found.name], samples[_ORIGINAL], found.batchable, rules.confidence)
        ratios = {speed.rows: speed.served for speed in speeds if speed.served is not None}
        verdict = decide(failures(found.quality, bounds), ratios, rules)
        if verdict.passes:
            merits[found.name] = merit(ratios, rules)
        outcome = replace(found, speeds=speeds, reasons=verdict.reasons)
        judged.append(outcome if verdict.passes else replace(outcome, outcome="rejected"))
    best = max(merits, key=lambda name: merits[name]) if merits else None
    return tuple(replace(of, outcome="kept") if of.name == best else of for of in judged)


def _kept(candidate: Candidate, report: Report) -> "ModelProto":
    import onnx

    model = onnx.load(candidate.path)
    of = next(variant for variant in report.variants if variant.name == report.kept)
    told = {"falaj.variant": of.name, "falaj.original_sha256": report.original.sha256}
    if not of.portable:
        told["falaj.only_for"] = ", ".join(f"{name} {value}" for name, value in report.machine.items())
    for name, value in told.items():
        model.metadata_props.add(key=name, value=value)
    return model

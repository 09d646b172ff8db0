"""Variants of a model in other precisions that answer as well, and the rows that it is asked with."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from falaj._core import InvalidInput
from falaj.server.tuning.run import Variant
from falaj.server.tuning.subject import Subject

if TYPE_CHECKING:
    from falaj.training.optimize.optimize import Sound
    from falaj.training.optimize.rows import Rows

# Saved graphs are what the server makes of the original anyway.
_TRIED = ("fp16", "int8-static", "int8-static-weights", "int8-dynamic")


@dataclass(frozen=True)
class Sources:
    """Where rows come from.

    Args:
        data: Rows like those to be served (.npz, .parquet or .csv), or V2 requests (.json); None:
            requests are random.
        variants: Names of `falaj optimize`; empty: none; None: those that may be faster.
        calibration: Training rows; None: a part of `data`.
        labels: Column, or array, of what is true of the rows.
        metric: What is measured by the labels.
    """

    data: Path | None = None
    variants: tuple[str, ...] | None = None
    calibration: Path | None = None
    labels: str | None = None
    metric: str | None = None


@dataclass(frozen=True)
class Prepared:
    """What a search is given: a file of inputs to ask with, and the variants."""

    inputs: Path | None = None
    sound: "Sound | None" = None

    def variants(self) -> dict[str, Variant]:
        """Return the files of the variants that answer as well, by name."""
        if self.sound is None:
            return {}
        batched = {of.name: of.batchable for of in self.sound.report.variants}
        return {name: Variant(file, batched[name]) for name, file in self.sound.files.items()}

    def lines(self) -> tuple[str, ...]:
        """Return what became of each variant that cannot be used."""
        if self.sound is None:
            return ()
        return tuple(
            f"{of.name}: {of.outcome}: {'; '.join(of.reasons)}"
            for of in self.sound.report.variants
            if of.name not in self.sound.files
        )


@contextmanager
def prepared(
    subject: Subject, sources: Sources, tell: Callable[[float], None] | None = None
) -> Iterator[Prepared]:
    """Make the variants, whose files are there while the context lasts.

    Raises:
        InvalidInput: The options do not go together.
        TrainingError: The rows are not the model's, or too few.
    """
    with TemporaryDirectory(prefix="falaj-tune-") as name:
        yield _prepare(subject, sources, Path(name), tell)


def _prepare(
    subject: Subject, sources: Sources, folder: Path, tell: Callable[[float], None] | None
) -> Prepared:
    if not subject.is_onnx():
        return Prepared(_of_code(sources))
    if sources.data is None or sources.data.suffix == ".json":
        if sources.variants or sources.labels or sources.calibration:
            raise InvalidInput(
                "variants: expected --data with rows (.npz, .parquet or .csv), on which answers are compared"
            )
        return Prepared(sources.data)
    from falaj.training.optimize.rows import read_rows, signature_of
    from falaj.training.optimize.version import target_at

    target = target_at(subject.version_folder())
    signature = signature_of(target.file, target.bundle())
    rows = read_rows(sources.data, signature, sources.labels)
    inputs = _saved(rows, folder)
    names = _TRIED if sources.variants is None else sources.variants
    if not names:
        return Prepared(inputs)
    learn = None
    if sources.calibration is not None:
        learn = read_rows(sources.calibration, signature, sources.labels, labelled=False).inputs
    made = folder / "variants"
    made.mkdir()
    return Prepared(inputs, _sound(target.file, rows, sources, names, made, learn, tell))


def _of_code(sources: Sources) -> Path | None:
    """The file of inputs of a model that is code, and has no variants."""
    if sources.variants or sources.labels or sources.calibration:
        raise InvalidInput("variants: expected none of a python model, which has no graph to make them of")
    if sources.data is not None and sources.data.suffix not in (".json", ".npz"):
        raise InvalidInput(f"data: expected .npz or .json for a python model, got '{sources.data}'")
    return sources.data


def _sound(
    model: Path,
    rows: "Rows",
    sources: Sources,
    names: tuple[str, ...],
    folder: Path,
    learn: object,
    tell: Callable[[float], None] | None,
) -> "Sound":
    from falaj.training.optimize.metric import as_metric
    from falaj.training.optimize.optimize import Truth, sound_variants

    if (rows.labels is None) != (sources.metric is None):
        raise InvalidInput("expected --labels and --metric, or neither")
    truth = None
    if rows.labels is not None and sources.metric is not None:
        truth = Truth(rows.labels, as_metric(sources.metric))
    return sound_variants(
        model,
        rows.inputs,
        truth,
        folder=folder,
        calibration=learn,  # type: ignore[arg-type]
        variants=names,
        tell=tell,
    )


def _saved(rows: "Rows", folder: Path) -> Path | None:
    """The rows as the load generator reads them; None where they are texts, which such a file cannot hold."""
    import numpy as np

    if any(array.dtype.hasobject for array in rows.inputs.values()):
        return None
    path = folder / "inputs.npz"
    np.savez(path, **rows.inputs)  # type: ignore[arg-type]
    return path

"""A model that someone brings, with a sample of its data, as what is to be exported."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.features.errors import DataError
from falaj.features.identity import view_of
from falaj.features.offline.manifest import Manifest, read_manifest
from falaj.training.bundle.bundle_files import hash_of
from falaj.training.bundle.evaluation import Asked, Evaluation, evaluate, has_scores, predicted_of
from falaj.training.bundle.importance import importance_of
from falaj.training.bundle.snapshot import Snapshot, see_files
from falaj.training.errors import TrainingError
from falaj.training.export.brought import load_original
from falaj.training.export.columns import inputs_from
from falaj.training.export.export import Subject
from falaj.training.export.lookup import feature_rows
from falaj.training.export.sample import Sample, read_sample, rows_of
from falaj.training.export.stored_columns import Stored, as_served, columns_of
from falaj.training.export.transformed import transformed_original
from falaj.training.export.wanted import Wanted, bound, transforms_of
from falaj.training.original import Arrays, Original, Task

_TOLD = "the sample that came with the model"
_UNKNOWN = (
    "Its rows are a sample that came with the model: whether it was fitted on them is not known; if so, "
    "its metrics are too good."
)
_NO_SCORES = "It gives no score for each class, so that its quality was not measured."


@dataclass(frozen=True)
class Brought:
    """A model's file and what is told of it.

    Attributes:
        data: Rows as it was fitted on: Parquet, CSV, or .npz with an array for each input.
        target: The column of what came of each row; None: nobody knows.
        time: The column of when each row was.
        leave_out: Other columns that the model does not take.
        task, classes: Where the model does not tell.
        module: `FILE.py:NAME`, what makes a module whose weights the file has.
        outputs: What the outputs of a module are called.
    """

    path: Path
    data: Path
    target: str | None = None
    time: str | None = None
    leave_out: Sequence[str] = ()
    task: Task | None = None
    classes: Sequence[int | str] = ()
    module: str = ""
    outputs: Sequence[str] = ()


def subject_of_file(brought: Brought, wanted: Wanted) -> Subject:
    """Return a model's file with what the sample tells of it.

    Where the sample is a feature export, its views are bound, its transforms go before the model, and what
    is null has what would be served.

    Raises:
        TrainingError: A file cannot be read, the sample does not fit the model, or what is wanted does not.
    """
    if not brought.data.is_file():
        raise TrainingError(f"{brought.data}: no such file")
    manifest = _manifest(brought.data)
    whole = read_sample(brought.data)
    sample = _served(read_sample(brought.data, _left_out(brought, whole, manifest)), whole, manifest, wanted)
    original = load_original(
        brought.path,
        sample,
        task=brought.task,
        classes=brought.classes,
        module=brought.module,
        outputs=brought.outputs,
    )
    transforms = wanted.transforms
    if transforms is None:
        transforms = () if manifest is None else transforms_of(manifest, original)
    served = transformed_original(original, transforms) if transforms else original
    own = rows_of(original, sample)
    binding = bound(served, manifest, wanted, wanted.on_missing or "default")
    columns = {} if whole.frame is None else {str(name): whole.frame[name] for name in whole.frame.columns}
    target = None if brought.target is None else _column(whole, brought.target)
    limits, evaluation, importance = [_UNKNOWN], None, None
    if target is not None and not has_scores(original):
        limits.append(_NO_SCORES)
    elif target is not None:
        evaluation = _evaluation(original, own, target, brought, whole)
        importance = importance_of(original, own, target)
    return Subject(
        original=original,
        transforms=transforms,
        rows=inputs_from(served, _columns(sample)) if transforms else own,
        snapshot=_snapshot(brought, whole, manifest),
        evaluation=evaluation,
        importance=importance,
        binding=binding,
        features=()
        if binding is None or manifest is None
        else feature_rows(
            binding, {name: (_filled(of), of.isna().to_numpy()) for name, of in columns.items()}
        ),
        purpose=wanted.purpose,
        owner=wanted.owner,
        limits=limits,
    )


def _left_out(brought: Brought, whole: Sample, manifest: Manifest | None) -> list[str]:
    names = [*brought.leave_out]
    names += [name for name in (brought.target, brought.time) if name is not None]
    if manifest is not None:
        statuses = (f"{view.meaning['name']}__status" for view in manifest.views)
        names += [name for name in (*statuses, manifest.spine_time) if name not in names]
    if whole.frame is None:
        return names
    there = list(map(str, whole.frame.columns))
    for name in names:
        if name not in there:
            raise TrainingError(f"{brought.data}: no column {name!r}; it has {', '.join(there)}")
    return names


def _served(sample: Sample, whole: Sample, manifest: Manifest | None, wanted: Wanted) -> Sample:
    """The sample of a feature export with what a model is given where there is null."""
    if manifest is None or sample.frame is None:
        return sample
    views = {view.name: view.features for view in (view_of(each.meaning) for each in manifest.views)}
    frame = sample.frame.copy()
    for name, column in columns_of(views).items():
        if name not in frame.columns or column.default is None or not frame[name].isna().any():
            continue
        status = whole.table()[f"{name.partition('__')[0]}__status"].to_numpy(object)
        is_present = status == "present" if wanted.on_missing == "nan" else None
        stored = Stored(_filled(frame[name]), frame[name].isna().to_numpy())
        datatype = "BYTES" if column.datatype == "BYTES" else "FP64"
        frame[name] = as_served(stored, datatype, column, is_present)
    return replace(sample, frame=frame)


def _columns(sample: Sample) -> dict[str, NDArray[Any]]:
    if sample.frame is None:
        return sample.arrays
    return {str(name): _filled(sample.frame[name]) for name in sample.frame.columns}


def _filled(column: Any) -> NDArray[Any]:
    """A column of a DataFrame, with '' for text and NaN for numbers that are not there."""
    values: NDArray[Any] = column.to_numpy()
    if values.dtype.kind == "O":
        return np.array(["" if of is None or of != of else of for of in values.tolist()], object)
    return values


def _column(whole: Sample, name: str) -> NDArray[Any]:
    if whole.frame is None:
        if name not in whole.arrays:
            raise TrainingError(f"{whole.origin}: no array {name!r}; it has {', '.join(whole.arrays)}")
        return whole.arrays[name].reshape(-1)
    column = whole.frame[name]
    if column.isna().any():
        row = int(np.flatnonzero(column.isna().to_numpy())[0])
        raise TrainingError(f"{whole.origin}: column {name!r}: row {row}: expected a value, got none")
    return np.asarray(column.to_numpy())


def _evaluation(
    original: Original, rows: Arrays, target: NDArray[Any], brought: Brought, whole: Sample
) -> Evaluation:
    months = None
    if brought.time is not None:
        import pandas

        try:
            times = pandas.to_datetime(_column(whole, brought.time), utc=True)
        except (ValueError, TypeError) as error:
            raise TrainingError(
                f"{whole.origin}: column {brought.time!r}: expected times: {error}"
            ) from error
        months = np.asarray(times.strftime("%Y-%m"), object)
    return evaluate(Asked(_TOLD, predicted_of(original, rows, target), months))


def _snapshot(brought: Brought, whole: Sample, manifest: Manifest | None) -> Snapshot:
    files = see_files([brought.path, brought.data])
    rows = len(whole.frame) if whole.frame is not None else len(next(iter(whole.arrays.values())))
    told = None if manifest is None else hash_of(Path(f"{brought.data}.manifest.json"))
    return Snapshot(files, rows, told)


def _manifest(data: Path) -> Manifest | None:
    """What the manifest beside a feature export tells; None where there is none."""
    path = Path(f"{data}.manifest.json")
    if not path.is_file():
        return None
    try:
        return read_manifest(path)
    except DataError as error:
        raise TrainingError(str(error)) from error

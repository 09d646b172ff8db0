"""What `falaj train` left, as what is to be exported."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.features.binding import Binding, OnMissing
from falaj.features.errors import DataError
from falaj.features.identity import view_of
from falaj.features.offline.manifest import Manifest, read_manifest
from falaj.training.bundle.evaluation import Asked, Evaluation, places_of
from falaj.training.bundle.importance import Importance, importance_of
from falaj.training.bundle.snapshot import Snapshot
from falaj.training.errors import TrainingError
from falaj.training.export.columns import inputs_from
from falaj.training.export.export import Subject
from falaj.training.export.lookup import feature_rows
from falaj.training.export.stored_columns import Stored, as_served, columns_of, read_stored
from falaj.training.export.transformed import transformed_original
from falaj.training.export.wanted import Wanted, bound, transforms_of
from falaj.training.fit.metrics import Predicted
from falaj.training.fit.prepared import frame_of, labels_of
from falaj.training.fit.run import Run
from falaj.training.fit.run_folder import read_run
from falaj.training.fit.split import Part, Split, split_table
from falaj.training.fit.table import Table, read_table
from falaj.training.original import Arrays, Original

_NO_DATA = (
    "When it was exported, its data could not be read as they were ({}): what is told of rows is of those "
    "that the run kept."
)


@dataclass(frozen=True)
class _Data:
    """All rows of a run, as they were divided."""

    table: Table
    split: Split

    def part(self, name: Part) -> Table:
        return self.table.take(self.split.rows(name))


def subject_of_run(folder: Path, wanted: Wanted) -> Subject:
    """Return the model of a run's folder with what training knows of it.

    The data are read again where they still are what the run tells; else the rows that the run has kept
    stand for them, the features' statuses are not known, and importance is not measured.

    Raises:
        TrainingError: It is no run, its data lack a column that a transform takes, or what is wanted does not
            fit it.
    """
    run = read_run(folder)
    original = original_of_run(run, str(folder))
    manifest = _manifest(run)
    transforms = wanted.transforms
    if transforms is None:
        transforms = () if manifest is None else transforms_of(manifest, original)
    served = transformed_original(original, transforms) if transforms else original
    on_missing = wanted.on_missing or run.spec.data.on_missing
    binding = bound(served, manifest, wanted, on_missing)
    found = _data(run)
    data = None if isinstance(found, str) else found
    rows = _Rows(run, data, manifest, on_missing)
    limits = [_NO_DATA.format(found)] if isinstance(found, str) else []
    return Subject(
        original=original,
        transforms=transforms,
        rows=inputs_from(served, rows.columns(served)),
        answers=None if data is None else original.predict(_inputs(original, data.part("test"))),
        snapshot=_snapshot(run, data),
        evaluation=_evaluation(run),
        importance=_importance(original, data),
        binding=binding,
        features=() if binding is None else feature_rows(binding, rows.stored_features(binding)),
        versions=run.circumstances.versions,
        purpose=wanted.purpose,
        owner=wanted.owner,
        limits=[*limits, *run.circumstances.not_repeatable],
    )


def original_of_run(run: Run, origin: str) -> Original:
    """Return what the export of a run must answer like."""
    if run.tabular is not None:
        from falaj.training.graph.tabular_original import original_of_tabular

        return original_of_tabular(run.tabular, task=run.task, classes=run.classes, origin=origin)
    from falaj.training.graph.pipeline_original import original_of_pipeline

    return original_of_pipeline(run.pipeline, frame_of(run.training), origin=origin)


class _Rows:
    """Training rows of a run, as the files have them and as the model gets them."""

    def __init__(
        self, run: Run, data: _Data | None, manifest: Manifest | None, on_missing: OnMissing
    ) -> None:
        self._table = run.training if data is None else data.part("train")
        self._files = [file.path for file in run.data.files]
        self._places: NDArray[np.int64] | None = None
        # Rows that were left out when the table was read have no place in the files that is known.
        if data is not None and not run.data.rows_left_out:
            self._places = data.split.rows("train")
        views = [] if manifest is None else [view_of(each.meaning) for each in manifest.views]
        self._features = columns_of({view.name: view.features for view in views})
        self._on_missing = on_missing

    def columns(self, served: Original) -> dict[str, NDArray[Any]]:
        """All that a model with its transforms takes."""
        table = self._table
        columns: dict[str, NDArray[Any]] = {name: table.matrix[:, i] for i, name in enumerate(table.numbers)}
        columns |= table.categories
        single = {each.name: each.datatype for each in served.inputs if each.columns == (each.name,)}
        # The table has numbers as FP32, and what only transforms take not at all.
        more = {
            name: datatype
            for name, datatype in single.items()
            if name not in columns or datatype not in ("FP32", "BYTES")
        }
        stored = self._stored([*more, *(self._status(name) for name in more)]) if more else {}
        for name, datatype in more.items():
            if name not in stored and name in columns:
                continue
            if name not in stored:
                raise TrainingError(
                    f"data: a transform takes {name!r}, and the run's data, where they are still what they "
                    f"were, have no such column"
                )
            status = stored.get(self._status(name))
            is_present = status.values == "present" if status and self._on_missing == "nan" else None
            columns[name] = as_served(stored[name], datatype, self._features.get(name), is_present)
        return columns

    def stored_features(self, binding: Binding) -> dict[str, tuple[NDArray[Any], NDArray[np.bool_]]]:
        """What the store told, by the names of a feature export."""
        names = [str(of) for of in binding.features]
        stored = self._stored([*names, *dict.fromkeys(self._status(name) for name in names)])
        return {name: (each.values, each.nulls) for name, each in stored.items()}

    def _stored(self, names: Sequence[str]) -> dict[str, Stored]:
        if self._places is None:
            return {}
        found = read_stored(self._files, list(dict.fromkeys(names)))
        return {name: each.take(self._places) for name, each in found.items()}

    @staticmethod
    def _status(name: str) -> str:
        return f"{name.partition('__')[0]}__status"


def _manifest(run: Run) -> Manifest | None:
    if run.data.manifest is None:
        return None
    try:
        return read_manifest(Path(run.data.manifest.path))
    except DataError as error:
        raise TrainingError(f"the run's feature export: {error}") from error


def _data(run: Run) -> "_Data | str":
    """The data of a run; where they cannot be read as they were, why not."""
    try:
        table = read_table(run.spec.data)
        then, now = ({file.path: file.sha256 for file in of.files} for of in (run.data, table.source))
        for path in sorted({*then, *now}):
            if then.get(path) != now.get(path):
                return f"{path} is not what it was"
        split = split_table(table, run.spec.split, run.spec.seed)
    except (TrainingError, OSError) as error:
        return str(error)
    return _Data(table, split)


def _inputs(original: Original, table: Table) -> Arrays:
    columns = {name: table.matrix[:, i] for i, name in enumerate(table.numbers)}
    return inputs_from(original, {**columns, **table.categories})


def _importance(original: Original, data: _Data | None) -> Importance | None:
    if data is None:
        return None
    test = data.part("test")
    return importance_of(original, _inputs(original, test), labels_of(test))


def _snapshot(run: Run, data: _Data | None) -> Snapshot:
    splits: dict[str, dict[str, Any]] = {part: {"rows": rows} for part, rows in run.split.sizes.items()}
    for border, when in run.split.borders.items():
        splits[border.removesuffix("_from")]["from"] = when
    first = last = None
    times = None if data is None else data.part("train").time
    if times is not None:
        first, last = _iso(int(times.min())), _iso(int(times.max()))
    return Snapshot(
        files=run.data.files,
        rows=sum(run.split.sizes.values()),
        manifest=None if run.data.manifest is None else run.data.manifest.sha256,
        first=first,
        last=last,
        splits={part: told for part, told in splits.items() if told["rows"]},
    )


def _evaluation(run: Run) -> Evaluation:
    """What the run measured on its test rows."""
    is_test = run.predictions["split"] == "test"
    names = [name for name in run.predictions if name.startswith("score")]
    scores = np.stack([run.predictions[name][is_test] for name in names], axis=1).astype(np.float64)
    target = run.predictions["target"][is_test]
    if run.task == "binary":
        scores = np.concatenate([1 - scores, scores], axis=1)
    places = target.astype(np.float64) if run.task == "regression" else places_of(target, run.classes)
    measured = run.metrics["test"]
    asked = Asked(f"test, of a split by {run.split.kind}", Predicted(run.task, places, scores))
    return Evaluation(asked, measured.all, measured.months, measured.segments)


def _iso(micros: int) -> str:
    return f"{np.datetime_as_string(np.datetime64(micros, 'us'), 'auto')}Z"

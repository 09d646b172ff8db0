"""A run: a model with the data, the numbers and the circumstances that it came from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.errors import TrainingError
from falaj.training.fit.bootstrap import Measures, blocks_of, by_month, by_value, measure
from falaj.training.fit.candidate import Candidate, fit_candidate
from falaj.training.fit.metrics import Predicted
from falaj.training.fit.prepared import Prepared, labels_of, prepare
from falaj.training.fit.provenance import cpu_model, not_repeatable, system, versions
from falaj.training.fit.spec import Kind, TrainSpec, plain_of
from falaj.training.fit.split import Part
from falaj.training.fit.table import Source, Table
from falaj.training.original import Family, Task
from falaj.training.tabular import Tabular

# Is told what is done, and how much of it, 0 to 1.
Tell = Callable[[str, float], None]
_TOLD: tuple[Part, Part] = ("validation", "test")
_USUAL_ROUNDS = 500  # for the progress alone
_MOST_KEPT = 50_000  # training rows that a run keeps


@dataclass(frozen=True)
class PartMeasures:
    """Metrics of a part: of all its rows, of each month, and by segment of each value."""

    all: Measures
    months: Mapping[str, Measures]
    segments: Mapping[str, Mapping[str, Measures]]


@dataclass(frozen=True)
class Circumstances:
    """What a run was made with.

    Attributes:
        threads: Of the fit, and of each worker.
        not_repeatable: What another run may not repeat to the bit, and why.
        workers, nodes: That shared the batches of a fit on Ray.
    """

    versions: Mapping[str, str]
    cpu: str
    system: str
    threads: int
    not_repeatable: tuple[str, ...]
    workers: int = 1
    nodes: int = 1


@dataclass(frozen=True)
class Tuned:
    """What a study came to.

    Attributes:
        best: The number of the best trial.
        value: Its metric, of validation rows.
    """

    metric: str
    trials: int
    pruned: int
    failed: int
    best: int
    value: float
    params: Mapping[str, Any]


@dataclass(frozen=True)
class SplitTold:
    """How rows were divided: rows of each part, and of a split by time its borders, ISO 8601 in UTC."""

    kind: str
    sizes: Mapping[str, int]
    borders: Mapping[str, str]


@dataclass(frozen=True)
class Run:
    """A fitted model, and all that is told of it.

    Attributes:
        params: As they were used, those that tuning found included.
        rounds: Trees for each class, or the best epoch; None where there are none.
        numbers, categories: The columns, and the known values of the latter; of a pipeline too.
        tabular, pipeline: One of them.
        metrics: Of validation, which chose the model and so is too good, and of test.
        predictions: Columns of validation and test rows: `row` of the data, `split`, `time`, `group`,
            `segment__NAME`, `target`, and `score`, or `score_CLASS` where there are more than two classes.
        training: Rows that it was fitted on, evenly spaced where there are more than 50,000.
    """

    spec: TrainSpec
    task: Task
    classes: tuple[int | str, ...]
    params: Mapping[str, Any]
    rounds: int | None
    numbers: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]]
    tabular: Tabular | None
    pipeline: Any
    metrics: Mapping[Part, PartMeasures]
    predictions: Mapping[str, NDArray[Any]]
    training: Table
    data: Source
    split: SplitTold
    circumstances: Circumstances
    tuned: Tuned | None = None

    @property
    def kind(self) -> Kind:
        """What was fitted."""
        return self.spec.model.kind

    @property
    def family(self) -> Family:
        """The library of the model."""
        if self.kind in ("lightgbm", "xgboost", "catboost"):
            return self.kind
        return "torch" if self.kind == "mlp" or (self.kind == "pipeline" and self.tabular) else "sklearn"

    @property
    def columns(self) -> tuple[str, ...]:
        """All features: numbers, then categories."""
        return (*self.numbers, *self.categories)

    def sample(self, rows: int | None = None) -> dict[str, NDArray[Any]]:
        """Return training rows as the served model's inputs.

        Args:
            rows: At most so many, evenly spaced; by default all that the run keeps.

        Returns:
            `x`, FP32 [rows, numbers], where there are numbers, and each category by its name, `object`
            [rows, 1] of str.
        """
        return inputs_of(self.training if rows is None else self.training.take(_spaced(self.training, rows)))

    def plain_params(self) -> dict[str, Any]:
        """Return the parameters as JSON has them."""
        plain: dict[str, Any] = plain_of(dict(self.params))
        return plain

    def candidate(self) -> Candidate:
        """Return the model as something that scores tables."""
        return Candidate(self.kind, self.task, self.tabular, self.pipeline, self.rounds)


def inputs_of(table: Table) -> dict[str, NDArray[Any]]:
    """Return rows as the served model's inputs, see `Run.sample`."""
    inputs: dict[str, NDArray[Any]] = {"x": table.matrix} if table.numbers else {}
    return inputs | {name: values.reshape(-1, 1) for name, values in table.categories.items()}


def fit(
    spec: TrainSpec, *, out: Path | None = None, jobs: int = 1, scale: str = "", tell: Tell | None = None
) -> Run:
    """Read the data, tune where the specification asks for it, fit, and measure.

    Args:
        out: The run's folder, which must not be there: it comes whole or not at all. A study needs one;
            killed, it goes on where the same is called again.
        jobs: Trials at once; and with `ray`, workers of a data-parallel fit.
        scale: `ray`: trials run on the Ray cluster that this process is connected to, and torch's models are
            fitted by several workers.
        tell: Is told what is done.

    Raises:
        TrainingError: The specification, the data or the library refuses; or the folder is there already.
    """
    from falaj.training.fit.run_folder import taken, write_run

    told: Tell = tell or (lambda what, share: None)
    if out is None:
        if spec.tuning.trials:
            raise TrainingError("tuning: a study is kept in the run's folder; say out")
        return _fit(prepare(spec), None, jobs, scale, told)
    with taken(out) as folder:
        told("reading", 0.0)
        prepared = prepare(spec)
        run = _fit(prepared, folder, jobs, scale, told)
        write_run(run, folder, out)
    return run


def refit(run: Run, tell: Tell | None = None) -> Run:
    """Fit again what a run tells, with its parameters, seed and threads.

    Raises:
        TrainingError: A file of the data is not what it was.
    """
    spec = replace(
        run.spec,
        model=replace(run.spec.model, params=run.params),
        tuning=replace(run.spec.tuning, trials=0),
        threads=run.circumstances.threads,
    )
    prepared = prepare(spec)
    before = {each.path: each.sha256 for each in run.data.files}
    now = {each.path: each.sha256 for each in prepared.table.source.files}
    for path in sorted({*before, *now}):
        if before.get(path) != now.get(path):
            raise TrainingError(
                f"{path}: is not what it was: sha256 {now.get(path)}, the run tells {before.get(path)}"
            )
    return _fit(prepared, None, 1, "", tell or (lambda what, share: None))


def _fit(prepared: Prepared, folder: Path | None, jobs: int, scale: str, tell: Tell) -> Run:
    from falaj.training.fit.threads import default_threads

    spec = prepared.spec
    tuned = None
    params = dict(spec.model.params)
    if spec.tuning.trials and folder is not None:
        from falaj.training.fit.tune import tune

        tuned = tune(prepared, folder, jobs, scale, lambda share: tell("tuning", share))
        params |= tuned.params
    threads = spec.threads or default_threads(spec.model.kind)
    rounds = spec.model.rounds or _USUAL_ROUNDS

    def report(step: int, loss: float) -> None:
        tell("fitting", min((step + 1) / rounds, 1.0))

    tell("fitting", 0.0)
    workers, nodes = 1, 1
    if _is_shared(prepared, params, jobs, scale):
        from falaj.training.fit.ray_fit import fit_on_ray

        candidate, nodes = fit_on_ray(prepared, params, jobs, threads)
        workers = jobs
    else:
        candidate = fit_candidate(prepared, params, report, threads, calibrate=True)
    tell("measuring", 0.0)
    scores = {part: candidate.scores(prepared.parts[part]) for part in _TOLD}
    kept = prepared.parts["train"]
    return Run(
        spec=spec,
        task=prepared.table.task,
        classes=prepared.table.classes,
        params=params,
        rounds=candidate.rounds,
        numbers=prepared.table.numbers,
        categories=prepared.known,
        tabular=candidate.tabular,
        pipeline=candidate.pipeline,
        metrics={part: _measures(prepared, part, scores[part]) for part in _TOLD},
        predictions=_predictions(prepared, scores),
        training=kept.take(_spaced(kept, _MOST_KEPT)),
        data=prepared.table.source,
        split=SplitTold(prepared.split.kind, prepared.split.sizes, prepared.split.borders),
        circumstances=Circumstances(
            versions=versions(spec.model.kind, ("optuna",) if tuned else ()),
            cpu=cpu_model(),
            system=system(),
            threads=threads,
            not_repeatable=tuple(not_repeatable(spec.model.kind, threads, workers)),
            workers=workers,
            nodes=nodes,
        ),
        tuned=tuned,
    )


def _is_shared(prepared: Prepared, params: Mapping[str, Any], jobs: int, scale: str) -> bool:
    """Whether a fit is made by several workers: on Ray, of torch's modules; others were tuned there alone."""
    if scale != "ray" or jobs == 1:
        return False
    from falaj.training.fit.ray_fit import can_be_shared

    return bool(prepared.spec.tuning.trials == 0 or can_be_shared(prepared, params))


def _measures(prepared: Prepared, part: Part, scores: NDArray[np.float64]) -> PartMeasures:
    spec, table = prepared.spec, prepared.parts[part]
    predicted = Predicted(table.task, table.target, scores)
    resamples, fewer = spec.metrics.resamples, max(spec.metrics.resamples // 4, 20)
    return PartMeasures(
        all=measure(predicted, blocks_of(table), resamples, spec.seed),
        months=by_month(predicted, table, fewer, spec.seed),
        segments={
            name: by_value(predicted, table, values, fewer, spec.seed)
            for name, values in table.segments.items()
        },
    )


def _predictions(prepared: Prepared, scores: Mapping[Part, NDArray[np.float64]]) -> dict[str, NDArray[Any]]:
    parts = [prepared.parts[part] for part in _TOLD]
    columns: dict[str, NDArray[Any]] = {
        "row": np.concatenate([prepared.split.rows(part) for part in _TOLD]),
        "split": np.repeat(np.array(_TOLD, object), [len(of) for of in parts]),
    }
    times = [of.time for of in parts if of.time is not None]
    if times:
        columns["time"] = np.concatenate(times)
    groups = [of.group for of in parts if of.group is not None]
    if groups:
        columns["group"] = np.concatenate(groups)
    for name in prepared.table.segments:
        columns[f"segment__{name}"] = np.concatenate([of.segments[name] for of in parts])
    columns["target"] = np.concatenate([labels_of(of) for of in parts])
    said = np.concatenate([scores[part] for part in _TOLD])
    classes = prepared.table.classes
    if len(classes) > 2:
        columns |= {f"score_{name}": said[:, i].copy() for i, name in enumerate(classes)}
    else:
        columns["score"] = said[:, -1].copy()
    return columns


def _spaced(table: Table, rows: int) -> NDArray[np.int64]:
    """Places of rows, evenly spaced, as many or all."""
    if len(table) <= rows:
        return np.arange(len(table))
    return np.arange(rows, dtype=np.int64) * len(table) // rows


@dataclass(frozen=True)
class Repeated:
    """How a run compares with the same made again.

    Attributes:
        differing: Predictions whose bits differ.
        largest: The largest difference.
        versions: Of libraries that are others now: what was, and what is.
    """

    rows: int
    differing: int
    largest: float
    versions: Mapping[str, tuple[str, str]]


def compare(before: Run, after: Run) -> Repeated:
    """Compare the predictions of two runs of the same specification, bit by bit."""
    names = [name for name in before.predictions if name.startswith("score")]
    old = np.stack([before.predictions[name] for name in names], axis=1)
    new = np.stack([after.predictions[name] for name in names], axis=1)
    same_rows = np.array_equal(before.predictions["row"], after.predictions["row"])
    if not same_rows or old.shape != new.shape:
        raise TrainingError("check: the run's predictions are of other rows")
    differing = (old.view(np.int64) != new.view(np.int64)).any(axis=1)
    then, now = before.circumstances.versions, after.circumstances.versions
    changed = {
        name: (then.get(name, "none"), now.get(name, "none"))
        for name in {**then, **now}
        if then.get(name) != now.get(name) and name != "optuna"
    }
    largest = float(np.abs(old - new).max()) if len(old) else 0.0
    return Repeated(len(old), int(differing.sum()), largest, changed)

"""A run's folder: whole under its name, or not there."""

import fcntl
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from falaj.features.durable import sync
from falaj.training.errors import TrainingError
from falaj.training.fit.estimators.job import library, module_of
from falaj.training.fit.run import Circumstances, PartMeasures, Run, SplitTold, Tuned
from falaj.training.fit.spec import TrainSpec, read_spec, spec_of
from falaj.training.fit.split import Part
from falaj.training.fit.table import Source, Table
from falaj.training.tabular import Calibration, Tabular

FORMAT = 1
STUDY = "study.db"
_RUN, _PREDICTIONS, _TRAINING, _PIPELINE, _WEIGHTS = (
    "run.json",
    "predictions.parquet",
    "training.parquet",
    "pipeline.joblib",
    "weights.pt",
)
_LOCK = "lock"
_TARGET = "__target"


@contextmanager
def taken(out: Path) -> Iterator[Path]:
    """Yield the folder in which a run is made until it has its name; one process has it at a time.

    What a study left there stays, for the next to go on from.

    Raises:
        TrainingError: The run is there already, its parent is not, or another process makes it.
    """
    if out.exists():
        raise TrainingError(f"{out}: is there already; name another folder, or remove it")
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = out.parent / f".{out.name}.partial"
    folder.mkdir(exist_ok=True)
    with open(folder / _LOCK, "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TrainingError(f"{out}: another process makes it now") from error
        try:
            yield folder
        finally:
            if folder.exists() and {each.name for each in folder.iterdir()} <= {_LOCK}:
                shutil.rmtree(folder)


def write_run(run: Run, folder: Path, out: Path) -> None:
    """Write a run into the folder in which it was made, and give that its name, for good."""
    for left in folder.iterdir():
        if left.name not in (STUDY, _LOCK):
            left.unlink()
    model = _write_model(run, folder)
    spec_file = None
    if run.spec.build is not None or run.spec.space is not None:
        spec_file = Path(run.spec.origin).name
        shutil.copyfile(run.spec.origin, folder / spec_file)
    _write_columns(run.predictions, folder / _PREDICTIONS)
    _write_columns(_training_columns(run.training), folder / _TRAINING)
    text = json.dumps(_plain(run, model, spec_file), ensure_ascii=False, indent=1, allow_nan=False)
    (folder / _RUN).write_text(text + "\n", encoding="utf-8")
    (folder / _LOCK).unlink()
    for file in folder.iterdir():
        sync(file)
    sync(folder)
    os.rename(folder, out)
    sync(out.parent)


def read_run(folder: Path) -> Run:
    """Read a run. A run that has a pipeline, or a specification in Python, runs code when it is read.

    Raises:
        TrainingError: It is no run, or a file of it cannot be read.
    """
    try:
        told = json.loads((folder / _RUN).read_text(encoding="utf-8"))
        if told["format"] != FORMAT:
            raise TrainingError(f"{folder / _RUN}: of another version of Falaj")
        return _read(told, folder)
    except (OSError, ValueError, KeyError, TypeError, msgspec.ValidationError) as error:
        if isinstance(error, TrainingError):
            raise
        raise TrainingError(f"{folder}: not a run of `falaj train`: {error!r}") from error


def _read(told: dict[str, Any], folder: Path) -> Run:
    if told["spec_file"] is None:
        spec = spec_of(told["spec"], str(folder / _RUN))
    else:
        spec = replace(read_spec(folder / told["spec_file"]), seed=told["spec"]["seed"])
    categories = {name: tuple(values) for name, values in told["categories"].items()}
    numbers, classes = tuple(told["numbers"]), tuple(told["classes"])
    source = msgspec.convert(told["data"], Source)
    estimator = _read_model(told, spec, folder)
    tabular = None
    if told["model"]["is_tabular"]:
        tabular = Tabular(estimator, numbers, categories, _calibration(told["calibration"]))
    training = _training(_read_columns(folder / _TRAINING), numbers, tuple(categories), told, source)
    return Run(
        spec=spec,
        task=told["task"],
        classes=classes,
        params=told["params"],
        rounds=told["rounds"],
        numbers=numbers,
        categories=categories,
        tabular=tabular,
        pipeline=None if tabular else estimator,
        metrics=msgspec.convert(told["metrics"], dict[Part, PartMeasures]),
        predictions=_read_columns(folder / _PREDICTIONS),
        training=training,
        data=source,
        split=msgspec.convert(told["split"], SplitTold),
        circumstances=msgspec.convert(told["circumstances"], Circumstances),
        tuned=msgspec.convert(told["tuned"], Tuned | None),
    )


def _plain(run: Run, model: Mapping[str, Any], spec_file: str | None) -> dict[str, Any]:
    calibration = None if run.tabular is None else run.tabular.calibration
    return {
        "format": FORMAT,
        "task": run.task,
        "classes": list(run.classes),
        "target": run.spec.data.target,
        "numbers": list(run.numbers),
        "categories": {name: list(values) for name, values in run.categories.items()},
        "model": dict(model),
        "family": run.family,
        "params": run.plain_params(),
        "rounds": run.rounds,
        "calibration": None if calibration is None else _plain_calibration(calibration),
        "metrics": {part: asdict(measures) for part, measures in run.metrics.items()},
        "split": asdict(run.split),
        "data": asdict(run.data),
        "tuned": None if run.tuned is None else asdict(run.tuned),
        "circumstances": asdict(run.circumstances),
        "spec": run.spec.plain(),
        "spec_file": spec_file,
    }


def _plain_calibration(calibration: Calibration) -> dict[str, Any]:
    told = asdict(calibration)
    return {**told, "knots": calibration.knots.tolist(), "values": calibration.values.tolist()}


def _calibration(told: Mapping[str, Any] | None) -> Calibration | None:
    if told is None:
        return None
    return Calibration(**{**told, "knots": np.array(told["knots"]), "values": np.array(told["values"])})


def _write_model(run: Run, folder: Path) -> dict[str, Any]:
    if run.tabular is None:
        import joblib

        with _importable(run.spec):
            joblib.dump(run.pipeline, folder / _PIPELINE)
        return {"kind": run.kind, "file": _PIPELINE, "is_tabular": False}
    if run.kind == "pipeline":
        import torch

        torch.save(run.tabular.estimator.state_dict(), folder / _WEIGHTS)
        return {"kind": run.kind, "file": _WEIGHTS, "is_tabular": True}
    file = module_of(run.kind).save(run.tabular.estimator, folder)
    return {"kind": run.kind, "file": file, "is_tabular": True}


def _read_model(told: Mapping[str, Any], spec: TrainSpec, folder: Path) -> Any:
    model = told["model"]
    path = folder / model["file"]
    if model["kind"] != "pipeline":
        return module_of(model["kind"]).load(path)
    if model["is_tabular"] and spec.build is not None:
        with library("torch", "torch"):
            import torch

        module = spec.build(told["params"])
        module.load_state_dict(torch.load(path, weights_only=True))
        return module.eval()
    with library("joblib", "training"):
        import joblib

    with _importable(spec):
        return joblib.load(path)


@contextmanager
def _importable(spec: TrainSpec) -> Iterator[None]:
    """Have pickles find the functions of a specification's file, which is no module that stays."""
    if spec.build is None or spec.build.__module__ in sys.modules:
        yield
        return
    module = ModuleType(spec.build.__module__)
    module.__dict__.update(spec.build.__globals__)
    sys.modules[module.__name__] = module
    try:
        yield
    finally:
        del sys.modules[module.__name__]


def _training_columns(table: Table) -> dict[str, NDArray[Any]]:
    """Features under the names that they have, and the target as places of classes or as numbers."""
    columns: dict[str, NDArray[Any]] = {name: table.matrix[:, i] for i, name in enumerate(table.numbers)}
    return {**columns, **table.categories, _TARGET: table.target}


def _training(
    columns: Mapping[str, NDArray[Any]],
    numbers: tuple[str, ...],
    categories: tuple[str, ...],
    told: Mapping[str, Any],
    source: Source,
) -> Table:
    matrix = np.empty((len(columns[_TARGET]), len(numbers)), np.float32)
    for i, name in enumerate(numbers):
        matrix[:, i] = columns[name]
    return Table(
        matrix=matrix,
        numbers=numbers,
        categories={name: columns[name] for name in categories},
        target=columns[_TARGET],
        task=told["task"],
        classes=tuple(told["classes"]),
        time=None,
        group=None,
        segments={},
        source=source,
    )


def _write_columns(columns: Mapping[str, NDArray[Any]], path: Path) -> None:
    with library("pyarrow", "training"):
        import pyarrow as pa
        from pyarrow import parquet

    arrays = {
        name: pa.array(values, pa.timestamp("us", "UTC")) if name == "time" else pa.array(values)
        for name, values in columns.items()
    }
    parquet.write_table(pa.table(arrays), path, compression="zstd")


def _read_columns(path: Path) -> dict[str, NDArray[Any]]:
    with library("pyarrow", "training"):
        import pyarrow as pa
        from pyarrow import parquet

    found = {}
    for name, column in zip((table := parquet.read_table(path)).column_names, table.columns, strict=True):
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.int64())
        values = column.combine_chunks().to_numpy(zero_copy_only=False)
        found[name] = np.array(values)
    return found

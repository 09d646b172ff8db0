"""What is to be trained, of what, and how: the one description that a run is made from."""

import difflib
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import msgspec

from falaj.training.errors import TrainingError

Kind = Literal[
    "linear", "hist_gradient_boosting", "random_forest", "lightgbm", "xgboost", "catboost", "mlp", "pipeline"
]
SplitKind = Literal["auto", "time", "group", "random"]
OnMissing = Literal["default", "nan", "reject"]
Params = Mapping[str, Any]
Build = Callable[[Params], Any]
Space = Callable[[Any], Params]
# Settings of the spec itself, by the names that libraries have for them.
_OWN = {
    "seed": ("seed", "random_state", "random_seed"),
    "threads": ("num_threads", "n_jobs", "nthread", "thread_count"),
    "model.rounds": ("n_estimators", "num_iterations", "num_boost_round", "iterations", "max_iter", "epochs"),
    "data.task": ("metric", "metrics", "eval_metric", "loss_function", "num_class"),
    "model.patience": ("early_stopping_rounds", "early_stopping_round", "early_stopping", "n_iter_no_change"),
}


@dataclass(frozen=True)
class DataSpec:
    """Where the rows are, and what their columns mean.

    Args:
        path: A feature export, or a glob of Parquet or CSV files; relative to the working folder.
        target: The column to predict.
        task: By default found from the target, where it is plain.
        time: The column of times. Of a feature export the spine's, where none is given.
        group: Rows of one value of it never come apart.
        features: The columns that the model takes; by default all that nothing else is said of.
        exclude: Columns that it does not take.
        categories: Columns of numbers that are names all the same; text always is. A key of a feature export
            that is one is a feature, too.
        segments: Columns by whose values metrics are told apart.
        on_missing: Of a feature export: as the model will be bound. By `reject`, rows whose request would be
            refused are left out.
        allow_leaks: Columns, and views as `view NAME@VERSION`, that are known when the model is asked, though
            they look otherwise, see leaks.py.
    """

    path: str
    target: str
    task: Literal["auto", "binary", "multiclass", "regression"] = "auto"
    time: str | None = None
    group: str | None = None
    features: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    segments: tuple[str, ...] = ()
    on_missing: OnMissing = "default"
    allow_leaks: tuple[str, ...] = ()


@dataclass(frozen=True)
class SplitSpec:
    """How rows are divided into training, validation and test.

    Args:
        kind: `auto`: by time where there is one, else by group where there is one, else random.
        validation, test: Shares of the rows, 0 to 1.
        validation_from, test_from: Times in ISO 8601 with an offset, in place of the shares.
    """

    kind: SplitKind = "auto"
    validation: float = 0.15
    test: float = 0.15
    validation_from: str | None = None
    test_from: str | None = None


@dataclass(frozen=True)
class ModelSpec:
    """What is fitted.

    Args:
        kind: `pipeline` is what the specification's own `build` returns.
        params: By the library's own names.
        rounds: Boosting rounds, trees of a forest, or epochs at most; None: the kind's own.
        patience: Rounds without a better validation loss after which fitting ends; 0: never; None: 50 rounds
            of boosting, 8 epochs.
    """

    kind: Kind = "lightgbm"
    params: Params = field(default_factory=dict)
    rounds: int | None = None
    patience: int | None = None


@dataclass(frozen=True)
class CalibrationSpec:
    """What makes better probabilities of a binary model's scores; it is fitted on validation rows."""

    method: Literal["none", "sigmoid", "isotonic"] = "none"


@dataclass(frozen=True)
class TuningSpec:
    """A search for better parameters.

    Args:
        trials: 0: none is made.
        metric: By default the log loss, or the root of the mean squared error.
        wave: So many trials are chosen from the same earlier ones: that many can run at once, and the result
            is the same whether they do.
        prune: Whether trials that are worse than the median at the same round are given up.
        threads: Of one trial.
        space: By parameter, {low, high, log, step} or {choices}; by default the kind's own.
    """

    trials: int = 0
    metric: str | None = None
    wave: int = 4
    prune: bool = True
    threads: int = 1
    space: Mapping[str, Params] = field(default_factory=dict)


@dataclass(frozen=True)
class MetricsSpec:
    """How metrics are told.

    Args:
        resamples: Of the bootstrap, for the intervals of a part; those of months and segments take a fourth.
    """

    resamples: int = 400


@dataclass(frozen=True)
class TrainSpec:
    """All that a run is made from.

    Args:
        class_weight: By class, or `balanced`: each class weighs as much as the others in training rows.
        seed: Of everything that is drawn.
        threads: Of the fit; None: one for each usable core.
        build: Returns an unfitted pipeline of scikit-learn, or a torch.nn.Module, for parameters.
        space: Returns parameters for a trial of Optuna.
        origin: The file that it was read from.
    """

    data: DataSpec
    split: SplitSpec = SplitSpec()
    model: ModelSpec = field(default_factory=ModelSpec)
    class_weight: Literal["none", "balanced"] | Mapping[str, float] = "none"
    calibration: CalibrationSpec = CalibrationSpec()
    tuning: TuningSpec = field(default_factory=TuningSpec)
    metrics: MetricsSpec = MetricsSpec()
    seed: int = 0
    threads: int | None = None
    build: Build | None = None
    space: Space | None = None
    origin: str = ""

    def __post_init__(self) -> None:
        """Raises TrainingError where values cannot be used, or not together."""
        where = self.origin or "specification"
        for share, value in (("validation", self.split.validation), ("test", self.split.test)):
            if not 0 < value < 1:
                raise TrainingError(f"{where}, split.{share}: expected a share between 0 and 1, got {value}")
        if self.split.validation + self.split.test >= 1:
            raise TrainingError(f"{where}, split: validation and test leave no rows to train on")
        if (self.model.kind == "pipeline") != (self.build is not None):
            raise TrainingError(
                f"{where}, model.kind: 'pipeline' is what `build` of a Python specification returns; "
                f"got {self.model.kind!r} {'with' if self.build else 'without'} it"
            )
        for name, value, least in (
            ("tuning.wave", self.tuning.wave, 1),
            ("tuning.threads", self.tuning.threads, 1),
            ("tuning.trials", self.tuning.trials, 0),
            ("model.patience", self.model.patience or 0, 0),
            ("model.rounds", 1 if self.model.rounds is None else self.model.rounds, 1),
            ("metrics.resamples", self.metrics.resamples, 20),
            ("threads", 1 if self.threads is None else self.threads, 1),
            ("seed", self.seed, 0),
        ):
            if value < least:
                raise TrainingError(f"{where}, {name}: expected {least} or more, got {value}")
        self._check_params(where)

    def _check_params(self, where: str) -> None:
        if self.model.kind == "pipeline":
            return
        for name in (*self.model.params, *self.tuning.space):
            for own, names in _OWN.items():
                if name in names:
                    raise TrainingError(f"{where}, model.params.{name}: is said by `{own}`")

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it, without functions; `spec_of` takes that back."""
        told = {each.name: getattr(self, each.name) for each in fields(self)}
        for left_out in ("build", "space", "origin"):
            del told[left_out]
        plain: dict[str, Any] = plain_of(told)
        return plain


def plain_of(value: Any) -> Any:
    """Return a value as JSON has it; what that has no name for, as parameters may be, by its `repr`."""
    return msgspec.to_builtins(
        value, enc_hook=lambda other: dict(other) if isinstance(other, Mapping) else repr(other)
    )


def read_spec(path: Path) -> TrainSpec:
    """Read a specification: a TOML file, or a Python file with `spec = TrainSpec(...)` at its top level.

    A Python file is run.

    Raises:
        TrainingError: It cannot be read, has an unknown key (the message names the nearest known one), or a
            value that cannot be used.
    """
    if path.suffix == ".py":
        return _run_spec(path)
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path}: cannot be read: {error}") from error
    return spec_of(told, str(path))


def spec_of(told: Mapping[str, Any], origin: str = "") -> TrainSpec:
    """Return the specification that tables of TOML, or `TrainSpec.plain`, tell.

    Raises:
        TrainingError: An unknown key, or a value that cannot be used.
    """
    where = origin or "specification"
    sections = {"data": DataSpec, "split": SplitSpec, "model": ModelSpec, "calibration": CalibrationSpec}
    sections |= {"tuning": TuningSpec, "metrics": MetricsSpec}
    own = ("class_weight", "seed", "threads")
    _check_keys(told, (*sections, *own), where)
    if "data" not in told:
        raise TrainingError(f"{where}: expected a table [data] with path and target")
    values: dict[str, Any] = {}
    for name, section in sections.items():
        if name in told:
            if not isinstance(told[name], Mapping):
                raise TrainingError(f"{where}, {name}: expected a table, got {told[name]!r}")
            _check_keys(told[name], [each.name for each in fields(section)], f"{where}, [{name}]")
            values[name] = _convert(_times_as_text(told[name]), section, f"{where}, [{name}]")
    for name, of in (("seed", int), ("threads", int | None)):
        if name in told:
            values[name] = _convert(told[name], of, f"{where}, {name}")
    if "class_weight" in told:
        values["class_weight"] = _class_weight(told["class_weight"], f"{where}, class_weight")
    return TrainSpec(**values, origin=origin)


def _class_weight(told: Any, where: str) -> Any:
    if told in ("none", "balanced") or told == {"balanced": True}:
        return "balanced" if told != "none" else told
    weights = _convert(told, Mapping[str, float], where)
    if not all(weight > 0 for weight in weights.values()):
        raise TrainingError(f"{where}: expected weights above 0, got {told}")
    return weights


def _times_as_text(section: Mapping[str, Any]) -> dict[str, Any]:
    """TOML has times of its own; split borders may be written as such."""
    return {
        key: value.isoformat() if hasattr(value, "isoformat") else value for key, value in section.items()
    }


def _check_keys(told: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    names = sorted(known)
    for key in told:
        if key not in names:
            near = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
            told_names = f"did you mean '{near[0]}'?" if near else f"known here: {', '.join(names)}"
            raise TrainingError(f"{where}: unknown key '{key}'; {told_names}")


def _convert(value: Any, to: Any, where: str) -> Any:
    try:
        return msgspec.convert(value, to)
    except msgspec.ValidationError as error:
        raise TrainingError(f"{where}: {error}") from error


def _run_spec(path: Path) -> TrainSpec:
    from falaj.features.definitions import run_files
    from falaj.features.errors import DefinitionError

    if not path.is_file():
        raise TrainingError(f"{path}: cannot be read: no such file")
    try:
        module = run_files([path], path.parent)[0]
    except DefinitionError as error:
        raise TrainingError(str(error)) from error
    spec = getattr(module, "spec", None)
    if not isinstance(spec, TrainSpec):
        raise TrainingError(f"{path}: expected `spec = TrainSpec(...)` at its top level, got {spec!r}")
    return replace(spec, origin=str(path))

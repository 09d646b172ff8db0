"""A study: trials in waves, kept in a file, which comes to the same whether it was killed or not.

The trials of a wave are drawn from the trials of earlier waves, see trial.py, and only finished ones are
written, in the order of their numbers, each in one transaction of SQLite. So the file is at any time the
beginning of the one study that the specification has, and whoever goes on writes its rest: the same for one
process, for several, and for Ray.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from falaj.features.identity import difference
from falaj.training.errors import TrainingError
from falaj.training.fit.estimators.job import library
from falaj.training.fit.metrics import direction
from falaj.training.fit.prepared import Prepared
from falaj.training.fit.provenance import versions
from falaj.training.fit.run import Tuned
from falaj.training.fit.run_folder import STUDY
from falaj.training.fit.search_space import space_of
from falaj.training.fit.trial import metric_of, quiet, run_trial

_NAME = "falaj"
_IDENTITY = "falaj"


class Runner(Protocol):
    """Runs some trials of a wave and yields each when it and all before it are finished."""

    def __call__(self, numbers: Sequence[int], earlier: Sequence[Any]) -> Iterator[Any]: ...


def tune(prepared: Prepared, folder: Path, jobs: int, scale: str, tell: Callable[[float], None]) -> Tuned:
    """Run a specification's study up to as many trials as it asks for, from where the folder's file has come.

    Args:
        jobs: Trials at once, of one wave at most.
        scale: `ray`: they run on the cluster that this process is connected to.
        tell: Is told the share of trials that are finished.

    Raises:
        TrainingError: The file is a study of something else, a trial's process was killed, or no trial is
            complete.
    """
    spec = prepared.spec
    metric = metric_of(prepared)
    way = direction(metric, prepared.table.task)
    space_of(spec)  # refused before anything is written
    with quiet(), _opened(prepared, folder / STUDY, way) as study:
        done = _numbered(study)
        with _runner(prepared, min(jobs, spec.tuning.wave), scale) as run:
            while len(done) < spec.tuning.trials:
                begin = len(done) // spec.tuning.wave * spec.tuning.wave
                numbers = range(len(done), min(begin + spec.tuning.wave, spec.tuning.trials))
                tell(len(done) / spec.tuning.trials)
                for number, trial in zip(numbers, run(numbers, done[:begin]), strict=True):
                    study.add_trial(trial)
                    tell((number + 1) / spec.tuning.trials)
                done = _numbered(study)
    return _tuned(done[: spec.tuning.trials], metric, way)


def read_trials(path: Path) -> list[Any]:
    """Return the FrozenTrials of a run's `study.db`, by number."""
    with library("optuna", "training"):
        import optuna

    with quiet():
        storage = _storage(path)
        try:
            return _numbered(optuna.load_study(study_name=_NAME, storage=storage))
        finally:
            storage.engine.dispose()


def _tuned(trials: Sequence[Any], metric: str, way: str) -> Tuned:
    complete = [each for each in trials if each.state.name == "COMPLETE"]
    failed = [each for each in trials if each.state.name == "FAIL"]
    if not complete:
        why = f": {failed[0].user_attrs['error']}" if failed else ""
        raise TrainingError(f"tuning: none of {len(trials)} trials is complete{why}")
    sign = 1.0 if way == "minimize" else -1.0
    best = min(complete, key=lambda each: (sign * each.value, each.number))
    return Tuned(
        metric=metric,
        trials=len(trials),
        pruned=sum(each.state.name == "PRUNED" for each in trials),
        failed=len(failed),
        best=best.number,
        value=float(best.value),
        params=best.user_attrs["params"],
    )


def _numbered(study: Any) -> list[Any]:
    return sorted(study.get_trials(deepcopy=False), key=lambda each: each.number)


@contextmanager
def _opened(prepared: Prepared, path: Path, way: str) -> Iterator[Any]:
    """The study of a file, which is made where there is none: whole, under another name first."""
    with library("optuna", "training"):
        import optuna

    identity = _identity(prepared)
    if not path.exists():
        new = path.with_name(f"{path.name}.new")
        new.unlink(missing_ok=True)
        storage = _storage(new)
        made = optuna.create_study(study_name=_NAME, storage=storage, direction=way)
        made.set_user_attr(_IDENTITY, identity)
        storage.engine.dispose()
        os.replace(new, path)
    storage = _storage(path)
    try:
        study = optuna.load_study(study_name=_NAME, storage=storage)
        differing = difference(study.user_attrs[_IDENTITY], identity)
        if differing:
            told = "; ".join(differing)
            raise TrainingError(
                f"{path}: is a study of something else: {told}; remove {path.parent} to begin anew"
            )
        yield study
    finally:
        storage.engine.dispose()


def _storage(path: Path) -> Any:
    import optuna

    # One process writes; a commit is in the file before the next trial begins.
    return optuna.storages.RDBStorage(f"sqlite:///{path.resolve()}")


def _identity(prepared: Prepared) -> dict[str, Any]:
    """What a study's trials follow from."""
    spec = prepared.spec
    told = spec.plain()
    del told["tuning"]["trials"], told["threads"], told["metrics"]
    identity = {
        "specification": told,
        "data": [each.sha256 for each in prepared.table.source.files],
        "libraries": versions(spec.model.kind, ("optuna",)),
    }
    if spec.build is not None or spec.space is not None:
        identity["file"] = hashlib.sha256(Path(spec.origin).read_bytes()).hexdigest() if spec.origin else ""
    plain: dict[str, Any] = json.loads(json.dumps(identity))  # as it is read back
    return plain


@contextmanager
def _runner(prepared: Prepared, jobs: int, scale: str) -> Iterator[Runner]:
    if scale == "ray":
        from falaj.training.fit.ray_trials import ray_runner

        with ray_runner(prepared.spec, jobs) as runner:
            yield runner
    elif jobs > 1:
        from falaj.training.fit.workers import Workers

        with Workers(prepared.spec, jobs) as workers:
            yield workers.run
    else:
        yield lambda numbers, earlier: (run_trial(prepared, number, earlier) for number in numbers)

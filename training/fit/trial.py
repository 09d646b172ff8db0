"""One trial of a study: a function of the data, its number, and the trials of earlier waves."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from falaj.training.errors import TrainingError
from falaj.training.fit.candidate import fit_candidate
from falaj.training.fit.estimators.job import Pruned, Report, library
from falaj.training.fit.metrics import Predicted, default_metric, direction, value_of
from falaj.training.fit.prepared import Prepared
from falaj.training.fit.search_space import space_of, suggest

_REPORTS = 50  # of one trial at most
_ROUNDS = 500  # where nothing is said
_UNPRUNED_TRIALS, _UNPRUNED_REPORTS = 4, 3


def run_trial(prepared: Prepared, number: int, earlier: Sequence[Any]) -> Any:
    """Run a trial and return it as a FrozenTrial, complete, pruned or failed.

    Its parameters are drawn by a sampler that is seeded by its number and knows the earlier trials alone, and
    it is pruned by those alone: so it comes to the same when it is run again, whatever runs beside it.

    Args:
        earlier: FrozenTrials of all earlier waves, by number.
    """
    with library("optuna", "training"):
        import optuna

    spec = prepared.spec
    metric = metric_of(prepared)
    way = direction(metric, prepared.table.task)
    with quiet():
        study = optuna.create_study(
            direction=way,
            sampler=optuna.samplers.TPESampler(seed=_seed(spec.seed, number)),
            pruner=optuna.pruners.MedianPruner(_UNPRUNED_TRIALS, n_min_trials=2)
            if spec.tuning.prune
            else optuna.pruners.NopPruner(),
        )
        study.add_trials(earlier)
        trial = study.ask()
        told = suggest(trial, space_of(spec)) if spec.space is None else _plain(spec.space(trial))
        trial.set_user_attr("params", told)
        try:
            report = _report(trial, way, spec.model.rounds or _ROUNDS)
            candidate = fit_candidate(prepared, {**spec.model.params, **told}, report, spec.tuning.threads)
            table = prepared.parts["validation"]
            value = value_of(metric, Predicted(table.task, table.target, candidate.scores(table)))
            if not math.isfinite(value):
                raise TrainingError(f"metric {metric}: is not defined for the validation rows")
            study.tell(trial, value)
        except Pruned:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        except TrainingError as error:
            trial.set_user_attr("error", str(error))
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return study.trials[-1]


def metric_of(prepared: Prepared) -> str:
    """Return what is tuned by."""
    return prepared.spec.tuning.metric or default_metric(prepared.table.task)


@contextmanager
def quiet() -> Iterator[None]:
    """Have Optuna say nothing while the context lasts."""
    with library("optuna", "training"):
        import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _plain(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as the study's file gives them back."""
    try:
        told: dict[str, Any] = json.loads(json.dumps(dict(params)))
    except (TypeError, ValueError) as error:
        raise TrainingError(
            f"space: expected parameters of numbers, texts and lists, got {params!r}"
        ) from error
    return told


def _report(trial: Any, way: str, rounds: int) -> Report:
    """Tells every so many rounds' loss, so that it is better the way the metric is."""
    every = max(rounds // _REPORTS, 1)
    sign = -1.0 if way == "maximize" else 1.0

    def report(step: int, loss: float) -> None:
        if step % every == 0:
            trial.report(sign * loss, step)
            if step // every >= _UNPRUNED_REPORTS and trial.should_prune():
                raise Pruned

    return report


def _seed(seed: int, number: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:{number}".encode()).digest()[:4], "big")

"""Trials on Ray: the same as in processes of this machine, see tune.py."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from falaj.training.fit.carried_spec import CarriedSpec, carried
from falaj.training.fit.ray_cluster import told_of
from falaj.training.fit.spec import TrainSpec


class TrialActor:
    """Runs trials on a node, with the data in memory. Ray has one call of it at a time."""

    def __init__(self, spec: CarriedSpec, folder: str) -> None:
        """Read the data; relative paths are of a folder that is the same on every node."""
        from falaj.training.fit.prepared import prepare

        os.chdir(folder)
        self._prepared = prepare(spec.spec())

    def run(self, number: int, earlier: Sequence[Any]) -> Any:
        """Run a trial, see `run_trial`."""
        from falaj.training.fit.trial import run_trial

        return run_trial(self._prepared, number, earlier)


class RayRunner:
    """A fixed number of actors. Used by one thread."""

    def __init__(self, spec: TrainSpec, jobs: int) -> None:
        """Begin with actors, spread over the nodes of the cluster that this process is connected to."""
        import ray

        options = {"num_cpus": spec.tuning.threads, "scheduling_strategy": "SPREAD"}
        actor = ray.remote(**options)(TrialActor)
        self._actors = [actor.remote(carried(spec), os.getcwd()) for _ in range(jobs)]

    def __call__(self, numbers: Sequence[int], earlier: Sequence[Any]) -> Iterator[Any]:
        """Run trials, and yield each when it and all before it are finished.

        Raises:
            TrainingError: An actor is gone, or says that the data cannot be used.
        """
        import ray

        known = ray.put(list(earlier))
        waiting, expected = list(numbers), list(numbers)
        finished: dict[int, Any] = {}
        free, busy = list(self._actors), {}
        while expected:
            while waiting and free:
                actor, number = free.pop(), waiting.pop(0)
                busy[actor.run.remote(number, known)] = (actor, number)
            (ready, *_), _ = ray.wait(list(busy))
            actor, number = busy.pop(ready)
            try:
                finished[number] = ray.get(ready)
            except ray.exceptions.RayError as error:
                raise told_of(error) from error
            free.append(actor)
            while expected and expected[0] in finished:
                yield finished.pop(expected.pop(0))

    def end(self) -> None:
        """End the actors."""
        import ray

        for actor in self._actors:
            ray.kill(actor)


@contextmanager
def ray_runner(spec: TrainSpec, jobs: int) -> Iterator[RayRunner]:
    """Yield a runner whose actors end with the context."""
    runner = RayRunner(spec, jobs)
    try:
        yield runner
    finally:
        runner.end()

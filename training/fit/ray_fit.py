"""A data-parallel fit of a torch.nn.Module on Ray: every worker takes its share of each batch.

The gradients are averaged by torch's DistributedDataParallel over gloo, so that each step is that of the
whole batch: the model is that of one process, but for the order of sums, and for what a dropout draws.
"""

import io
import os
import socket
from collections.abc import Mapping
from typing import Any

from falaj.training.errors import TrainingError
from falaj.training.fit.candidate import Candidate, built_of, job_of, with_calibration
from falaj.training.fit.carried_spec import CarriedSpec, carried
from falaj.training.fit.estimators.job import library
from falaj.training.fit.prepared import Prepared
from falaj.training.fit.ray_cluster import told_of
from falaj.training.tabular import Tabular


def fit_on_ray(
    prepared: Prepared, params: Mapping[str, Any], workers: int, threads: int
) -> tuple[Candidate, int]:
    """Fit by so many workers of the cluster that this process is connected to.

    Args:
        threads: Of each worker.

    Returns:
        The model, and on how many nodes the workers were.

    Raises:
        TrainingError: The kind is none of torch, or a worker fails.
    """
    with library("ray", "ray"):
        import ray

    spec = prepared.spec
    if not can_be_shared(prepared, params):
        raise TrainingError(
            f"--scale ray with --jobs: '{spec.model.kind}' is not fitted by several workers, torch's modules"
            " are; tune on Ray, or leave --jobs out"
        )
    actor = ray.remote(num_cpus=threads, scheduling_strategy="SPREAD")(ShareActor)
    actors = [
        actor.remote(carried(spec), os.getcwd(), dict(params), threads, rank, workers)
        for rank in range(workers)
    ]
    try:
        address = ray.get(actors[0].address.remote())
        found = ray.get([each.fit.remote(address) for each in actors])
    except ray.exceptions.RayError as error:
        raise told_of(error) from error
    finally:
        for each in actors:
            ray.kill(each)
    import torch

    weights, rounds, _ = found[0]
    module = _module(prepared, params, threads)
    module.load_state_dict(torch.load(io.BytesIO(weights), weights_only=True))
    module.eval()
    tabular = Tabular(module, prepared.table.numbers, prepared.known)
    tabular = with_calibration(spec.model.kind, tabular, prepared)
    made = Candidate(spec.model.kind, prepared.table.task, tabular, rounds=rounds)
    return made, len({node for *_, node in found})


def can_be_shared(prepared: Prepared, params: Mapping[str, Any]) -> bool:
    """Whether a specification's model is a module of torch."""
    spec = prepared.spec
    if spec.model.kind == "mlp":
        return True
    if spec.build is None:
        return False
    with library("torch", "torch"):
        import torch
    return isinstance(built_of(spec, params), torch.nn.Module)


class ShareActor:
    """One of several workers of a fit."""

    def __init__(
        self, spec: CarriedSpec, folder: str, params: Mapping[str, Any], threads: int, rank: int, world: int
    ) -> None:
        """Read the data; relative paths are of a folder that is the same on every node."""
        from falaj.training.fit.prepared import prepare

        os.chdir(folder)
        self._prepared, self._params = prepare(spec.spec()), params
        self._threads, self._rank, self._world = threads, rank, world

    def address(self) -> str:
        """Return where the others meet the first: its node's address and a port that is free."""
        import ray

        host = ray.util.get_node_ip_address()
        with socket.socket() as free:
            free.bind((host, 0))
            return f"tcp://{host}:{free.getsockname()[1]}"

    def fit(self, address: str) -> tuple[bytes, int, str]:
        """Fit together with the others; return the weights and the best epoch, as all do, and the node."""
        import ray
        import torch
        from torch import distributed

        from falaj.training.fit.estimators.torch_loop import seeded, train_module

        if address.startswith("tcp://127."):
            os.environ["GLOO_SOCKET_IFNAME"] = "lo"  # else gloo asks what the machine's name leads to
        distributed.init_process_group("gloo", init_method=address, rank=self._rank, world_size=self._world)
        try:
            module = _module(self._prepared, self._params, self._threads)
            job = job_of(self._prepared, self._params, lambda step, loss: None, self._threads)
            with seeded(job.seed, job.threads):
                share = torch.nn.parallel.DistributedDataParallel
                rounds = train_module(job, module, rank=self._rank, world=self._world, share=share)
        finally:
            distributed.destroy_process_group()
        weights = io.BytesIO()
        torch.save(module.state_dict(), weights)
        return weights.getvalue(), rounds, ray.get_runtime_context().get_node_id()


def _module(prepared: Prepared, params: Mapping[str, Any], threads: int) -> Any:
    """The module with the weights that it begins with, the same in every process."""
    from falaj.training.fit.estimators.mlp import make
    from falaj.training.fit.estimators.torch_loop import seeded

    if prepared.spec.build is not None:
        return built_of(prepared.spec, params)
    job = job_of(prepared, params, lambda step, loss: None, threads)
    with seeded(job.seed, 1):
        return make(job)

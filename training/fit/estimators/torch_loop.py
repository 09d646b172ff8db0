"""The training of a torch.nn.Module on the matrix, alone or as one of several that share each batch."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.fit.estimators.job import Job, Rows
from falaj.training.original import Task

_EPOCHS = 100
_CHUNK = 4096  # rows that are answered at once; fixed, since sums can differ in their bits by the batch


@contextmanager
def seeded(seed: int, threads: int) -> Iterator[None]:
    """Have torch draw from a seed, by its deterministic algorithms, on so many threads, while it lasts."""
    import torch

    threads_before, strict_before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(True)
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(strict_before)
            torch.set_num_threads(threads_before)


def train_module(
    job: Job, module: Any, *, rank: int = 0, world: int = 1, share: Callable[[Any], Any] | None = None
) -> int:
    """Train by Adam until the validation loss no longer falls; the module has the best epoch's weights then.

    Each batch is of the same rows whatever the world. A rank takes every world-th of them, and its loss is
    scaled so that the mean of the ranks' gradients is the gradient of the whole batch.

    Args:
        module: Gives logits [rows, classes], or values [rows, 1].
        share: Returns the module as one that averages gradients with the other ranks'.

    Returns:
        The best epoch, from 1 on.
    """
    import torch

    params = job.params
    optimizer = torch.optim.Adam(
        module.parameters(),
        lr=float(params.get("learning_rate", 1e-3)),
        weight_decay=float(params.get("weight_decay", 0.0)),
    )
    size = int(params.get("batch_size", 256))
    x, y, weight = _tensors(job.train, job.task)
    shared = module if share is None else share(module)
    order = torch.Generator().manual_seed(job.seed)
    best, best_loss, kept = 0, np.inf, _copy(module)
    for epoch in range(job.rounds or _EPOCHS):
        shared.train()
        for batch in torch.randperm(len(x), generator=order).split(size):
            own = batch[rank::world]
            losses = _losses(shared(x[own]), y[own], job.task)
            loss = (losses * weight[own]).sum() * (world / weight[batch].sum())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        loss_now = validation_loss(module, job.validation, job.task)
        if loss_now < best_loss:
            best, best_loss, kept = epoch + 1, loss_now, _copy(module)
        job.report(epoch, loss_now)
        if job.patience and epoch + 1 - best >= job.patience:
            break
    if job.patience:
        module.load_state_dict(kept)
    module.eval()
    return best


def validation_loss(module: Any, rows: Rows, task: Task) -> float:
    """Return the weighted mean of the rows' losses."""
    import torch

    _, y, weight = _tensors(rows, task)
    losses = _losses(torch.from_numpy(logits_of(module, rows.matrix)), y, task)
    return float((losses * weight).sum() / weight.sum())


def logits_of(module: Any, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what a module gives, [rows, outputs]."""
    import torch

    module.eval()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            parts = [
                module(torch.from_numpy(np.ascontiguousarray(matrix[i : i + _CHUNK]))).numpy()
                for i in range(0, max(len(matrix), 1), _CHUNK)
            ]
    finally:
        torch.set_num_threads(before)
    made: NDArray[np.float32] = np.concatenate(parts)
    return made if made.ndim == 2 else made.reshape(-1, 1)


def scores_of(logits: NDArray[np.float32], task: Task) -> NDArray[np.float64]:
    """Return probabilities by softmax, FP64; or the values themselves."""
    wide = logits.astype(np.float64)
    if task == "regression":
        return wide
    powers = np.exp(wide - wide.max(axis=1, keepdims=True))
    made: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return made


def _tensors(rows: Rows, task: Task) -> tuple[Any, Any, Any]:
    import torch

    target = rows.target.astype(np.float32 if task == "regression" else np.int64)
    return (
        torch.from_numpy(rows.matrix),
        torch.from_numpy(target),
        torch.from_numpy(rows.weight.astype(np.float32)),
    )


def _losses(said: Any, target: Any, task: Task) -> Any:
    """Of each row: the cross entropy, or the squared error."""
    import torch

    if task == "regression":
        return (said.reshape(-1) - target) ** 2
    return torch.nn.functional.cross_entropy(said, target, reduction="none")


def _copy(module: Any) -> dict[str, Any]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}

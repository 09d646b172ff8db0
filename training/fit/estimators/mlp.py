"""A multi-layer perceptron of torch."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.errors import TrainingError
from falaj.training.fit.estimators.job import Fitted, Job, library
from falaj.training.fit.estimators.torch_loop import logits_of, scores_of, seeded, train_module
from falaj.training.original import Task

_FILE = "model.pt"
_SHAPE = ("hidden", "dropout")
_LOOP = ("learning_rate", "weight_decay", "batch_size")


def fit(job: Job) -> Fitted:
    """Fit a torch.nn.Module that has the best epoch's weights."""
    with library("torch", "torch"):
        import torch  # noqa: F401
    with seeded(job.seed, job.threads):
        module = make(job)
        return Fitted(module, train_module(job, module))


def make(job: Job) -> Any:
    """Return the network with the weights that it begins with, which torch's generator draws."""
    from falaj.training.fit.estimators import mlp_module

    for name in job.params:
        if name not in (*_SHAPE, *_LOOP):
            raise TrainingError(f"model.params.{name}: an mlp has {', '.join((*_SHAPE, *_LOOP))}")
    numbers = job.train.matrix[:, : job.numbers].astype(np.float64)
    numbers[~np.isfinite(numbers)] = np.nan
    present = ~np.isnan(numbers)
    counts = np.maximum(present.sum(0), 1)
    mean = np.where(present, numbers, 0).sum(0) / counts
    spread = np.sqrt((np.where(present, numbers - mean, 0) ** 2).sum(0) / counts)
    shape = {
        "mean": mean.tolist(),
        "scale": np.where(spread > 0, spread, 1.0).tolist(),
        "flagged": np.flatnonzero(~present.all(0)).tolist(),
        "categories": list(job.categories),
        "outputs": job.classes or 1,
        "hidden": list(job.params.get("hidden", (64, 32))),
        "dropout": float(job.params.get("dropout", 0.0)),
        "target": None,
    }
    if job.task == "regression":
        shape["target"] = [float(job.train.target.mean()), float(job.train.target.std()) or 1.0]
    module = mlp_module.made(shape)
    module.shape = shape
    return module


def score(estimator: Any, matrix: NDArray[np.float32], task: Task) -> NDArray[np.float64]:
    """Return probabilities [rows, classes], or values [rows, 1]."""
    return scores_of(logits_of(estimator, matrix), task)


def save(estimator: Any, folder: Path) -> str:
    """Write its weights and its shape with torch; return the file's name."""
    import torch

    torch.save({"shape": estimator.shape, "weights": estimator.state_dict()}, folder / _FILE)
    return _FILE


def load(path: Path) -> Any:
    """Read what `save` wrote."""
    with library("torch", "torch"):
        import torch
    from falaj.training.fit.estimators import mlp_module

    told = torch.load(path, weights_only=True)
    module = mlp_module.made(told["shape"])
    module.load_state_dict(told["weights"])
    module.shape = told["shape"]
    return module.eval()

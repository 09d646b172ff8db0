"""What every section stands on: the models in a repository, the native driver, and how long to measure."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from falaj.training.onnxruntime_library import find_onnxruntime
from tests import zoo
from tests.zoo.model import Arrays, ZooModel


@dataclass(frozen=True)
class Setup:
    """How to measure, and what."""

    driver: Path
    repository: Path
    seconds: float
    rounds: int
    smoke: bool
    models: dict[str, ZooModel]

    def model_file(self, name: str) -> Path:
        """Return the path of a model."""
        return self.repository / name / "1" / "model.onnx"

    def row(self, name: str, rows: int = 1) -> Arrays:
        """Return the inputs of one request."""
        return self.models[name].sample(np.random.default_rng(1), rows)

    def native(self, what: str, model: str, **settings: float | str) -> dict[str, float]:
        """Run the driver for one measurement. Raises RuntimeError with what it wrote if it fails."""
        settings = {"seconds": self.seconds, **settings}
        command = [str(self.driver), what, f"library={find_onnxruntime()}", f"model={self.model_file(model)}"]
        command += [f"{key}={value}" for key, value in settings.items()]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}: {done.stderr.strip()}")
        result: dict[str, float] = json.loads(done.stdout)
        return result


def prepare(driver: Path, folder: Path, seconds: float, rounds: int, smoke: bool) -> Setup:
    """Write the models and return the setup. Raises FileNotFoundError where there is no driver."""
    if not driver.is_file():
        raise FileNotFoundError(f"{driver}: no such file; `cmake --build --preset release` makes it")
    models = {"mlp": zoo.mlp(), "conv_net": zoo.conv_net()}
    for model in models.values():
        zoo.save(model, folder)
    return Setup(driver, folder, seconds, rounds, smoke, models)


def falaj_settings(described: dict[str, Any]) -> dict[str, float]:
    """Return what the engine chose for a model, as the driver's settings."""
    return {
        "max_batch": described["max_batch_size"],
        "instances": described["instances"],
        "intra_op": described["threads"],
    }

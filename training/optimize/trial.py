"""Loads a model and runs it in a process of its own: ONNX Runtime can end a process on a model's account.

Version 1.32 does so on FP16 transformers that it optimises by itself, by a wrong read.
"""

import os
import pickle
import subprocess
import sys
from pathlib import Path

from falaj.training.errors import TrainingError
from falaj.training.optimize.candidate import as_given
from falaj.training.optimize.quiet import without_folder
from falaj.training.original import Arrays

_SECONDS = 300


def try_apart(model: Path, rows: Arrays, folder: Path) -> None:
    """Load a model and run it on rows in another process, and wait for its end.

    Args:
        folder: For the rows.

    Raises:
        TrainingError: It is refused, takes more than five minutes, or ends the process.
    """
    given = folder / "trial.pickle"
    given.write_bytes(pickle.dumps(dict(rows)))
    command = [sys.executable, "-m", "falaj.training.optimize.trial", str(model), str(given)]
    # As this process finds its modules, wherever it was started.
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise TrainingError(f"{model.name}: loading and running it took over {_SECONDS} s") from error
    if done.returncode < 0:
        raise TrainingError(f"{model.name}: ONNX Runtime ended the process by signal {-done.returncode}")
    if done.returncode != 0:
        told = " ".join(done.stdout.split()) or done.stderr.strip()
        raise TrainingError(f"{model.name}: {without_folder(told, model.parent)}")


def main() -> int:
    """Entry point of the other process."""
    from falaj import _core
    from falaj.training.onnx_backend import load_onnx

    model, given = map(Path, sys.argv[1:])
    rows = pickle.loads(given.read_bytes())
    try:
        backend = load_onnx(model)
        backend.run(rows, as_given)
    except _core.Error as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

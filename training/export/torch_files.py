"""PyTorch's files as modules."""

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from falaj.training.errors import TrainingError
from falaj.training.library import require


def read_module(path: Path, maker: str = "") -> Any:
    """Read a torch.nn.Module: pickled whole, exported by torch.export, or weights and what takes them.

    Unpickling a module runs the code that is in the file. With a maker only weights are read, which run none.

    Args:
        path: `.pt2`, or `.pt` or `.pth`.
        maker: `FILE.py:NAME`: called without arguments it makes the module whose weights are in the file. The
            file is run.

    Raises:
        TrainingError: It cannot be read, or is not what was expected.
    """
    require(str(path), "torch")
    import torch

    if path.suffix == ".pt2":
        try:
            return torch.export.load(path).module()
        except Exception as error:  # of the archive, or of operators that are not there
            raise TrainingError(f"{path}: torch.export: {type(error).__name__}: {error}") from error
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=bool(maker))
    except Exception as error:  # unpickling runs any code
        told = str(error).splitlines()[0] if str(error) else ""
        raise TrainingError(f"{path}: torch.load: {type(error).__name__}: {told}") from error
    if isinstance(loaded, torch.jit.ScriptModule):
        raise TrainingError(f"{path}: expected a module, got TorchScript: save it by torch.export as .pt2")
    if isinstance(loaded, torch.nn.Module):
        return loaded
    if not maker:
        raise TrainingError(
            f"{path}: expected a module, got a {type(loaded).__name__}: say what makes it: --module "
            "FILE.py:NAME"
        )
    weights = loaded
    if isinstance(loaded, Mapping) and isinstance(loaded.get("state_dict"), Mapping):
        weights = loaded["state_dict"]
    made = _made(maker)
    if not isinstance(made, torch.nn.Module):
        raise TrainingError(f"--module {maker}: expected a torch.nn.Module, got a {type(made).__name__}")
    try:
        made.load_state_dict(weights)
    except (RuntimeError, TypeError) as error:
        raise TrainingError(f"{path}: does not fit {maker}: {' '.join(str(error).split())[:400]}") from None
    return made


def _made(maker: str) -> Any:
    """Run a file and call what it defines."""
    file, colon, name = maker.rpartition(":")
    path = Path(file)
    if not colon or path.suffix != ".py" or not path.is_file():
        raise TrainingError(f"--module {maker}: expected FILE.py:NAME of a file that exists")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise TrainingError(f"--module {maker}: Python cannot load the file")
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = loaded  # dataclasses and pickles look their module up
    spec.loader.exec_module(loaded)
    if not hasattr(loaded, name):
        raise TrainingError(f"--module {maker}: the file has no {name}")
    return getattr(loaded, name)()

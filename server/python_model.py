"""Models written in Python: `<version>/model.py` with a class that has `infer` or `stream`, and `load`."""

import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from falaj._core import InvalidInput
from falaj.server.model_loop import ModelLoop


def import_model(path: Path, name: str) -> ModuleType:
    """Import the file as a module of its own, so that two versions do not share one. Raises InvalidInput."""
    unique = f"_falaj_model_{name}_{path.parent.name}_{path.stat().st_mtime_ns}"
    spec = importlib.util.spec_from_file_location(unique, path)
    if spec is None or spec.loader is None:
        raise InvalidInput(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[unique] = module  # so that its classes can be pickled
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InvalidInput(f"{path}: importing it raised {type(error).__name__}: {error}") from error
    finally:
        del sys.modules[unique]
    return module


def model_factory(
    path: Path, name: str, class_name: str, parameters: dict[str, Any], decoupled: bool, loop: ModelLoop
) -> tuple[type[Any], Callable[[], Any]]:
    """The user's class, and a callable that makes one loaded model, for one instance.

    The class needs `infer(batch: dict[str, ndarray]) -> dict[str, ndarray]`, or, of a decoupled model,
    `stream(batch)`, which returns an iterator of such dicts; `load(parameters, folder)` is called once before
    where it is there. Each may be `async def`, and then runs on `loop`. Raises InvalidInput.
    """
    module = import_model(path, name)
    cls = getattr(module, class_name, None)
    if not isinstance(cls, type):
        raise InvalidInput(f"{path}: has no class '{class_name}' (python_class)")
    method = "stream" if decoupled else "infer"
    if not callable(getattr(cls, method, None)):
        raise InvalidInput(f"{path}: class '{class_name}' has no method `{method}(self, batch)`")

    def make() -> Any:
        model = cls()
        if hasattr(model, "load"):
            loading = model.load(dict(parameters), path.parent)
            if inspect.isawaitable(loading):
                loop.wait(loading)
        return model

    return cls, make

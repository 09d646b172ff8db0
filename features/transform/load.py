"""Transforms in Python files."""

from pathlib import Path

from falaj.features.definitions import run_files
from falaj.features.errors import DefinitionError
from falaj.features.transform.declare import Transform


def load_transform(reference: str) -> Transform:
    """Run a Python file and return its transform.

    Args:
        reference: `share.py:share`, the file and the transform's name in it.

    Raises:
        DefinitionError: There is none, or the file fails; the message has the file and the line.
    """
    file, colon, name = reference.rpartition(":")
    path = Path(file)
    if not colon or path.suffix != ".py":
        raise DefinitionError(f"transform: expected FILE.py:NAME, got {reference!r}")
    if not path.is_file():
        raise DefinitionError(f"{path}: no such file")
    (module,) = run_files([path], path.parent)
    found = getattr(module, name, None)
    if not isinstance(found, Transform):
        there = (
            ", ".join(key for key, value in vars(module).items() if isinstance(value, Transform)) or "none"
        )
        raise DefinitionError(f"{path}: expected a transform {name!r}, it has: {there}")
    return found

"""Files that are whole and on the disk when they have their names."""

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Return when what a file has, or which names a folder has, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def put(made: Path, path: Path) -> None:
    """Give a complete file its name, for good, in place of what has it; both in one folder."""
    sync(made)
    os.replace(made, path)
    sync(path.parent)

"""The next version of a model: a folder that is there whole or not at all."""

import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from falaj.features.durable import sync

_VERSION = re.compile(r"[1-9][0-9]*")  # as the server tells a version's folder


def versions_of(root: Path) -> list[Path]:
    """Return the folders of a model that are versions by their names, in no order."""
    if not root.is_dir():
        return []
    return [each for each in root.iterdir() if is_version(each) and each.is_dir()]


def is_version(folder: Path) -> bool:
    """Whether a folder has a version's name: a positive integer."""
    return _VERSION.fullmatch(folder.name) is not None


def write_next_version(root: Path, fill: Callable[[Path], None]) -> Path:
    """Have a new folder filled, and give it the number after the highest. It is durable when this returns.

    Servers see nothing of it before. A process that is killed may leave a hidden folder behind.

    Args:
        root: Of the model; made where it is not there.
        fill: Writes the version's files into an empty folder.

    Raises:
        OSError: The disk refuses; nothing is left.
    """
    root.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=".version-", dir=root))
    try:
        fill(made)
        made.chmod(0o755)  # made for this user alone, while it was no version yet
        for path in sorted(made.iterdir()):
            sync(path)
        sync(made)
        return _named(made, root)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


def _named(made: Path, root: Path) -> Path:
    while True:
        folder = root / str(max((int(each.name) for each in versions_of(root)), default=0) + 1)
        try:
            os.rename(made, folder)
        except OSError:
            if not folder.exists():
                raise
            continue  # another process took the number
        sync(root)
        sync(root.parent)
        return folder

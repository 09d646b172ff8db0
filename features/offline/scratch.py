"""A folder beside an export where what it has finished is kept, until it is whole."""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from falaj.features.errors import DataError

_UNFINISHED = ".unfinished"
_LOCK = "lock"
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Scratch:
    """Files and folders of one export. What has its name is whole: it gets it when it is finished."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spill = folder / "spill"  # of DuckDB

    def has(self, name: str) -> bool:
        """Whether it was finished, by this run or one before."""
        return (self.folder / name).exists()

    def path(self, name: str) -> Path:
        """Return where it is when it is finished."""
        return self.folder / name

    @contextmanager
    def making(self, name: str) -> Iterator[Path]:
        """Give the path to write to, and the name when the context is left without an error."""
        unfinished = self.folder / f"{name}{_UNFINISHED}"
        yield unfinished
        os.replace(unfinished, self.folder / name)

    def drop(self, *names: str) -> None:
        """Remove what is not needed any more."""
        for name in names:
            _remove(self.folder / name)


@contextmanager
def kept_scratch(out: Path, asked: Any) -> Iterator[Scratch]:
    """Give the scratch folder of an export, with what a run that was killed had finished of the same.

    It is removed where the context is left, but by Ctrl-C. What runs that asked otherwise have
    left of `out` is removed first.

    Args:
        asked: All that decides what is in the folder, as JSON has it.

    Raises:
        DataError: A run of the same export is under way.
    """
    # What was written before the machine went down may be on its disk in part.
    boot = _BOOT.read_text(encoding="ascii") if _BOOT.exists() else ""
    own = _hash(str(out.name), 8)
    folder = out.parent / f".falaj-export-{own}-{_hash(json.dumps([asked, boot]), 16)}"
    for other in out.parent.glob(f".falaj-export-{own}-*"):
        if other != folder:
            _remove_left(other)
    folder.mkdir(exist_ok=True)
    with (folder / _LOCK).open("w") as lock:
        if not (_locked(lock) and _is_there(lock)):
            raise DataError(f"{out}: is being made by another run")
        for left in (*folder.glob(f"*{_UNFINISHED}"), folder / "spill"):
            _remove(left)
        try:
            yield Scratch(folder)
        except Exception:
            _remove(folder)
            raise
        _remove(folder)


def _hash(text: str, digits: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:digits]


def _locked(lock: TextIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_there(lock: TextIO) -> bool:
    """Whether the file was not removed, with its folder, before it was locked."""
    path = Path(lock.name)
    return path.exists() and path.stat().st_ino == os.fstat(lock.fileno()).st_ino


def _remove_left(folder: Path) -> None:
    """Remove a folder that no run is using."""
    with suppress(FileNotFoundError), (folder / _LOCK).open("w") as lock:
        if _locked(lock):
            _remove(folder)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)

"""Keeps the log of served features within bounds: its oldest files are removed, whole."""

import time
from dataclasses import dataclass
from pathlib import Path

_UNFINISHED_SECONDS = 3600.0  # after which a file without its name is of a process that was killed


@dataclass(frozen=True)
class Kept:
    """What there is of a log.

    Attributes:
        files, bytes: That stay.
        removed: Files that were removed, and
        removed_bytes: how large they were.
    """

    files: int = 0
    bytes: int = 0
    removed: int = 0
    removed_bytes: int = 0


def keep_within(log: Path, max_bytes: int, max_seconds: float | None) -> Kept:
    """Remove a log's oldest files until the others are within bounds, but for the newest, which stays.

    Files that are being written have other names, and are left alone. Others may do the same at once.

    Args:
        log: Its folder, which has one for each model; it need not be there.
        max_bytes: Of all files together.
        max_seconds: Files are removed that were written longer ago, the newest too; None: none is.

    Raises:
        OSError: A file cannot be removed.
    """
    now = time.time()
    for _, _, path in _files(log, "*/.*.parquet.new", until=now - _UNFINISHED_SECONDS):
        path.unlink(missing_ok=True)
    there = _files(log, "*/[!.]*.parquet")
    left, removed, gone = sum(size for _, size, _ in there), 0, 0
    for place, (written, size, path) in enumerate(there):
        is_old = max_seconds is not None and now - written > max_seconds
        if not is_old and (left <= max_bytes or place + 1 == len(there)):
            break
        path.unlink(missing_ok=True)
        left, removed, gone = left - size, removed + 1, gone + size
    return Kept(len(there) - removed, left, removed, gone)


def _files(log: Path, pattern: str, until: float = float("inf")) -> list[tuple[float, int, Path]]:
    """When each was written, its size and its path; the oldest first."""
    found = []
    for path in log.glob(pattern):
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue  # another removed it
        if stat.st_mtime <= until:
            found.append((stat.st_mtime, stat.st_size, path))
    return sorted(found)

"""The log of served features stays within its bounds, and what is being written is left alone."""

import os
import time
from pathlib import Path

import pytest

from falaj.features.served.retention import Kept, keep_within

_HOUR = 3600.0


def _add(log: Path, name: str, hours: float, size: int = 100) -> None:
    path = log / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    os.utime(path, (time.time() - hours * _HOUR,) * 2)


def _there(log: Path) -> list[str]:
    return sorted(str(path.relative_to(log)) for path in log.glob("*/*"))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Four files of two models, one half written now and one half written by who is gone."""
    for name, hours in (("a/1.parquet", 5), ("b/2.parquet", 4), ("a/3.parquet", 3), ("b/4.parquet", 2)):
        _add(tmp_path, name, hours)
    _add(tmp_path, "a/.5.parquet.new", 0.1, 10_000)
    _add(tmp_path, "a/.0.parquet.new", 9, 10_000)
    return tmp_path


@pytest.mark.parametrize(
    ("most", "seconds", "left"),
    [
        (400, None, ["a/1", "a/3", "b/2", "b/4"]),
        (399, None, ["a/3", "b/2", "b/4"]),
        (200, None, ["a/3", "b/4"]),
        (1, None, ["b/4"]),  # the newest stays, whatever its size
        (400, 3.5 * _HOUR, ["a/3", "b/4"]),
        (100, 4.5 * _HOUR, ["b/4"]),
        (400, 1.0, []),
    ],
)
def test_oldest_are_removed_whole_when_there_is_too_much(
    log: Path, most: int, seconds: float | None, left: list[str]
) -> None:
    removed = 4 - len(left)
    assert keep_within(log, most, seconds) == Kept(len(left), 100 * len(left), removed, 100 * removed)
    assert _there(log) == sorted(["a/.5.parquet.new", *(f"{each}.parquet" for each in left)])
    assert keep_within(log, most, seconds) == Kept(len(left), 100 * len(left))


def test_there_is_nothing_when_nothing_was_logged(tmp_path: Path) -> None:
    assert keep_within(tmp_path / "none", 1, 1.0) == Kept()


def test_other_files_are_left_alone(log: Path) -> None:
    _add(log, "a/notes.txt", 99)
    _add(log, "audit.json", 99)
    assert keep_within(log, 1, 1.0).removed == 4
    assert _there(log) == ["a/.5.parquet.new", "a/notes.txt"]
    assert (log / "audit.json").exists()

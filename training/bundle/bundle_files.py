"""The files of a model version, and the hashes by which its `bundle.json` knows them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from falaj.features.binding import BUNDLE, read_parts
from falaj.features.errors import DefinitionError
from falaj.training.errors import TrainingError


@dataclass(frozen=True)
class Difference:
    """A file that is not what it was when it was exported.

    Attributes:
        expected, found: SHA-256 in hex; found is None where there is no such file.
    """

    file: str
    expected: str
    found: str | None

    def __str__(self) -> str:
        if self.found is None:
            return f"{self.file}: expected sha256 {self.expected}, there is no such file"
        return f"{self.file}: expected sha256 {self.expected}, got {self.found}"


def hash_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hex. Raises OSError."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify_bundle(version_folder: Path) -> tuple[Difference, ...]:
    """Return which files of a version differ from what its `bundle.json` tells of them, by name.

    A folder without one, or whose bundle tells of no files, has nothing that could differ. The bundle itself
    is not among the files: what a model looks up may be bound anew. See features/binding.py.

    Raises:
        TrainingError: The bundle or a file cannot be read.
    """
    differ = []
    for name, expected in sorted(_told(version_folder).items()):
        path = version_folder / name
        try:
            found = hash_of(path) if path.is_file() else None
        except OSError as error:
            raise TrainingError(f"{path}: cannot be read: {error}") from error
        if found != expected:
            differ.append(Difference(name, expected, found))
    return tuple(differ)


def _told(version_folder: Path) -> Mapping[str, str]:
    try:
        parts = read_parts(version_folder)
    except DefinitionError as error:
        raise TrainingError(str(error)) from error
    files = {} if parts is None else parts.get("files", {})
    if not isinstance(files, dict):
        raise TrainingError(f"{version_folder / BUNDLE}: files: expected an object, got {files!r}")
    for name, sha256 in files.items():
        # A bundle comes with a request, too: it names nothing outside its folder.
        if name in ("", ".", "..") or "/" in name or "\0" in name or not isinstance(sha256, str):
            raise TrainingError(
                f"{version_folder / BUNDLE}: files: expected names of files and their sha256, "
                f"got {name!r}: {sha256!r}"
            )
    return files

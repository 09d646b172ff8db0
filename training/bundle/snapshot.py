"""What a model was fitted on: files, and one hash that stands for all of them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from falaj.features.file_seen import FileSeen
from falaj.training.bundle.bundle_files import hash_of
from falaj.training.errors import TrainingError


@dataclass(frozen=True)
class Snapshot:
    """The data of a training run.

    Attributes:
        rows: That were read of the files.
        manifest: SHA-256 of the manifest of the feature export, where it is one.
        first, last: Earliest and latest time of the rows, in ISO 8601; None where there is no time.
        splits: What is told of each part: its rows, and where it begins and ends.
    """

    files: tuple[FileSeen, ...]
    rows: int
    manifest: str | None = None
    first: str | None = None
    last: str | None = None
    splits: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def hash(self) -> str:
        """SHA-256 of what the files have, in hex; their names and places are not part of it."""
        told = [sorted(file.sha256 for file in self.files), self.manifest]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "hash": self.hash,
            "files": [asdict(file) for file in self.files],
            "manifest": self.manifest,
            "rows": self.rows,
            "first": self.first,
            "last": self.last,
            "splits": {name: dict(told) for name, told in self.splits.items()},
        }


def see_files(paths: Sequence[Path]) -> tuple[FileSeen, ...]:
    """Return files' sizes and hashes. Raises TrainingError where one cannot be read."""
    try:
        return tuple(FileSeen(str(path), path.stat().st_size, hash_of(path)) for path in paths)
    except OSError as error:
        raise TrainingError(f"data: {error}") from error

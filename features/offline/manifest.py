"""What an export was made of and what came of it, enough to make the same again."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from glob import glob
from pathlib import Path
from typing import Any

from falaj.features.errors import DataError, DefinitionError
from falaj.features.file_seen import FileSeen
from falaj.features.identity import Plain
from falaj.features.offline.staging import Staged
from falaj.features.source import PushedRows, Source, SqlQuery
from falaj.features.transform import Transform
from falaj.features.transform.program import program_of

FORMAT = 1


@dataclass(frozen=True)
class ViewJoined:
    """A view of an export.

    Attributes:
        content_hash: Of its definition.
        meaning: Its definition, as `identity.meaning` has it.
        files: Its source; none where that is a query or pushed rows.
        history_rows: In the source.
        ahead: Of these, with an event in the future of when it was known: clocks that are not right.
        present, missing, expired: Rows of the spine, by what the view had for them.
        late: Rows of the spine for which something newer was true and not known yet.
        null: Of the rows that are present, for how many each column is null.
        staged: What was read of a query.
        bad: Rows of the source that are not in the history, by what the definition demands of them.
    """

    content_hash: str
    meaning: Plain
    files: tuple[FileSeen, ...]
    history_rows: int
    ahead: int
    present: int
    missing: int
    expired: int
    late: int
    null: dict[str, int]
    staged: Staged | None = None
    bad: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class TransformApplied:
    """A transform of an export.

    Attributes:
        identity: The hash of what it computes.
        program: That itself, as `Program.plain` has it.
    """

    name: str
    identity: str
    program: list[Any]

    def transform(self) -> Transform:
        """Return the transform. Raises DefinitionError where it is not what its identity says."""
        made = Transform(self.name, program_of(self.program))
        if made.identity != self.identity:
            raise DefinitionError(f"{made}: is not what its identity says")
        return made


def applied(transform: Transform) -> TransformApplied:
    """Return what a manifest tells of a transform."""
    return TransformApplied(transform.name, transform.identity, transform.program.plain())


@dataclass(frozen=True)
class Manifest:
    """Of one export.

    Attributes:
        spine_files: Empty where the spine is a SELECT.
        as_of_known_us: UTC; None where all that is known was used.
        columns: Of the output, in order.
        spark: The version of Spark that made it; None where DuckDB did. A folder's `out` has the bytes of all
            its files, and the hash of their hashes in hex, in order.
    """

    spine: str
    spine_time: str
    spine_files: tuple[FileSeen, ...]
    as_of_known_us: int | None
    views: tuple[ViewJoined, ...]
    rows: int
    columns: tuple[str, ...]
    out: FileSeen
    duckdb: str
    spark: str | None = None
    transforms: tuple[TransformApplied, ...] = ()
    on_missing: str = "default"

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        text = json.dumps({"format": FORMAT, **asdict(self)}, ensure_ascii=False, indent=1)
        path.write_text(text + "\n", encoding="utf-8")


def read_manifest(path: Path) -> Manifest:
    """Read what `Manifest.write` wrote. Raises DataError where it is no such file."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        if told.pop("format") != FORMAT:
            raise DataError(f"{path}: of another version of Falaj")
        views = tuple(_view(view) for view in told.pop("views"))
        spine_files, columns = _files(told.pop("spine_files")), tuple(told.pop("columns"))
        out = FileSeen(**told.pop("out"))
        transforms = tuple(TransformApplied(**each) for each in told.pop("transforms", ()))
        return Manifest(
            **told, spine_files=spine_files, views=views, columns=columns, out=out, transforms=transforms
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path}: not a manifest of an export: {error}") from error


def see(path: str | Path) -> FileSeen:
    """Return a file's size and hash."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileSeen(str(path), file.tell(), digest)


def see_all(pattern: str) -> tuple[FileSeen, ...]:
    """Return those of all files of a glob, by path."""
    return tuple(see(path) for path in sorted(glob(pattern, recursive=True)))


def see_folder(path: Path, pattern: str) -> FileSeen:
    """Return the size of a folder's files that match, and the hash of their hashes."""
    seen = [see(file) for file in sorted(path.glob(pattern))]
    digest = hashlib.sha256("".join(file.sha256 for file in seen).encode()).hexdigest()
    return FileSeen(str(path), sum(file.bytes for file in seen), digest)


def see_source(source: Source) -> tuple[FileSeen, ...]:
    """Return those of a view's source; none of a query or of pushed rows."""
    return () if isinstance(source, SqlQuery | PushedRows) else see_all(source.glob)


def _view(told: Mapping[str, Any]) -> ViewJoined:
    staged = told.get("staged")  # manifests from before there were queries have none
    seen = None if staged is None else Staged(**staged)
    return ViewJoined(**{**told, "files": _files(told["files"]), "staged": seen})


def _files(told: list[Mapping[str, Any]]) -> tuple[FileSeen, ...]:
    return tuple(FileSeen(**file) for file in told)

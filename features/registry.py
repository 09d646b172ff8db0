"""Which views there are, and were: a record of every version that was applied, in SQLite."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from falaj.features.errors import DefinitionError, UnknownView
from falaj.features.identity import Plain, content_hash, difference, meaning, stewardship
from falaj.features.view import View

_SCHEMA = """
CREATE TABLE IF NOT EXISTS view_versions (
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    content_hash TEXT NOT NULL,
    meaning TEXT NOT NULL,      -- JSON, as identity.meaning has it; never changed
    stewardship TEXT NOT NULL,  -- JSON, as identity.stewardship has it
    applied_at TEXT NOT NULL,   -- UTC, ISO 8601
    PRIMARY KEY (name, version)
) STRICT
"""
_COLUMNS = "name, version, content_hash, meaning, stewardship, applied_at"
_WAIT_SECONDS = 10.0  # for another process that is applying

Outcome = Literal["new", "unchanged", "owner or tags changed"]


@dataclass(frozen=True)
class Registered:
    """A version of a view as it was applied."""

    name: str
    version: int
    content_hash: str
    meaning: Plain
    stewardship: Plain
    applied_at: str

    def __str__(self) -> str:
        return f"view {self.name}@{self.version}"


class Registry:
    """The record, in a file of its own. Any number of processes may read and apply at a time.

    Args:
        path: The file; its folder is made where it is missing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def apply(self, views: Iterable[View]) -> list[tuple[View, Outcome]]:
        """Register all of these, or none; what is registered already and the same stays as it is.

        Returns:
            What became of each, by name and version.

        Raises:
            DefinitionError: One differs from what is registered under its version, or is of a version below
                one that is registered.
        """
        with self._open() as database:
            database.execute("BEGIN IMMEDIATE")
            with database:
                ordered = sorted(views, key=lambda view: (view.name, view.version))
                return [(view, _apply_one(database, view)) for view in ordered]

    def versions(self, name: str | None = None) -> list[Registered]:
        """Return every version of every view, or of one, by name and version."""
        where, values = ("", ()) if name is None else (" WHERE name = ?", (name,))
        with self._open() as database:
            return _read(database, f"{where} ORDER BY name, version", values)

    def find(self, name: str, version: int | None = None) -> Registered:
        """Return a version of a view, by default the latest. Raises UnknownView where there is none."""
        versions = self.versions(name)
        for found in reversed(versions):
            if version is None or found.version == version:
                return found
        if not versions:
            raise UnknownView(f"view {name}: is not registered")
        there = ", ".join(str(found.version) for found in versions)
        raise UnknownView(f"view {name}@{version}: is not registered; there are {there}")

    def named(self, reference: str) -> Registered:
        """Return the view that VIEW or VIEW@VERSION names. Raises DefinitionError where it is neither, and
        UnknownView."""
        name, at, version = reference.partition("@")
        if at and not (version.isascii() and version.isdecimal() and len(version) < 10):
            raise DefinitionError(f"expected VIEW or VIEW@VERSION, got {reference!r}")
        return self.find(name, int(version) if at else None)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self._path, timeout=_WAIT_SECONDS, isolation_level=None)) as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            database.execute(_SCHEMA)
            yield database


def _read(database: sqlite3.Connection, rest: str, values: Sequence[object]) -> list[Registered]:
    rows = database.execute(f"SELECT {_COLUMNS} FROM view_versions{rest}", values)
    return [
        Registered(name, version, digest, json.loads(told), json.loads(stewards), applied_at)
        for name, version, digest, told, stewards, applied_at in rows
    ]


def _apply_one(database: sqlite3.Connection, view: View) -> Outcome:
    told, stewards = meaning(view), stewardship(view)
    there = _read(database, " WHERE name = ? ORDER BY version", (view.name,))
    for found in there:
        if found.version != view.version:
            continue
        if found.content_hash != content_hash(told):
            changes = "; ".join(difference(found.meaning, told))
            raise DefinitionError(
                f"{view}: is registered and differs: {changes}. A changed view needs a new version"
            )
        if found.stewardship == stewards:
            return "unchanged"
        database.execute(
            "UPDATE view_versions SET stewardship = ? WHERE name = ? AND version = ?",
            (json.dumps(stewards), view.name, view.version),
        )
        return "owner or tags changed"
    if there and there[-1].version > view.version:
        raise DefinitionError(f"{view}: version {there[-1].version} is registered; a new one is above it")
    database.execute(
        f"INSERT INTO view_versions ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)",
        (
            view.name,
            view.version,
            content_hash(told),
            json.dumps(told, ensure_ascii=False),
            json.dumps(stewards, ensure_ascii=False),
            datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        ),
    )
    return "new"

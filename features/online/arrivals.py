"""What of a view's source has arrived since a store was brought up to it."""

import time
from collections.abc import Sequence
from pathlib import Path

import duckdb

from falaj.features.checks import Window, judged_sql
from falaj.features.errors import DataError
from falaj.features.offline.history import EVENT, KNOWN, REASON, ROW
from falaj.features.offline.sql import blaming, quoted
from falaj.features.online.cursor import FileRead, Read, check_order
from falaj.features.raw_rows import Part, create_parts
from falaj.features.source import SqlQuery
from falaj.features.view import View


class Source:
    """A view's source as it was when this was made, for a store that has `before` of it.

    Args:
        files: By `files_now`, before they are read: what changes meanwhile is another file the next time.

    Attributes:
        begun_us: When it began to be read, UTC µs: what arrives later may not be there.

    Raises:
        DataError: It cannot be read.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        view: View,
        scratch: Path,
        before: Read,
        files: Sequence[FileRead],
    ) -> None:
        self.begun_us = time.time_ns() // 1000
        self._connection = connection
        self._view = view
        self._files = tuple(files)
        since = {}
        if before.until_us is not None and not view.unique:
            since = {each.path: before.until_us for each in self._files if each in before.files}
        paths = [each.path for each in self._files]
        self.parts: Sequence[Part] = create_parts(connection, view, scratch, paths, since)

    def seen(self, until_us: int) -> tuple[FileRead, ...]:
        """Return its files; of a query, what its rows are that had arrived by a time."""
        if not isinstance(self._view.source, SqlQuery):
            return self._files
        (part,) = self.parts
        names = ", ".join(quoted(name) for name in part.types if name != ROW)
        known = quoted(self._view.known_time or self._view.event_time)
        sql = (
            f"SELECT count(*), (coalesce(sum(hash({names})), 0) % {2**63})::BIGINT FROM {part.relation} "
            f"WHERE coalesce({known} <= {until_us}, true)"
        )
        with blaming(f"{self._view}, source"):
            found = self._connection.execute(sql).fetchone()
        assert found is not None
        return (FileRead(part.source, found[0], found[1]),)

    def window(self, before: Read, now: Read) -> Window:
        """Return which rows `now` has and `before` has not.

        Raises:
            DataError: The order of rows of the same times is not what it was, and nothing else decides.
        """
        if not isinstance(self._view.source, SqlQuery):
            check_order(self._view, before.files, self._files)
        if before.until_us is None:
            return Window(until_us=now.until_us)
        new = [each.path for each in self.seen(before.until_us) if each not in before.files]
        if isinstance(self._view.source, SqlQuery) and new:
            self._check_ties(before.until_us)
        if self._view.sql is not None and before.files != now.files:
            new = [part.source for part in self.parts]  # it may make new rows of old files
        places = frozenset(part.place for part in self.parts if part.source in new)
        return Window(before.until_us, now.until_us, places)

    def _check_ties(self, until_us: int) -> None:
        if self._view.sequence is not None:
            return
        same = ", ".join((*(quoted(key) for key in self._view.entity.keys), EVENT, KNOWN))
        rows = f"({judged_sql(self._view, self.parts[0])}) WHERE {REASON} IS NULL AND {KNOWN} <= {until_us}"
        sql = f"SELECT 1 FROM {rows} GROUP BY {same} HAVING count(*) > 1 LIMIT 1"
        with blaming(f"{self._view}, source"):
            tied = self._connection.execute(sql).fetchone()
        if tied is not None:
            raise DataError(
                f"{self._view}, source: its rows of before are not what they were, and their order decides "
                "between some of the same times. Declare a `sequence`, or use --rebuild"
            )

"""How far an export has come, while its statements run."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import duckdb

Tell = Callable[[float], None]  # of the share that is done, 0 to 1, from a thread of its own
Step = Callable[[int, int], None]  # is told, before a statement, which of how many steps it is, from 0 on
_LOOK_SECONDS = 0.1


class Progress:
    """Which part of the whole the statements that run are."""

    def __init__(self) -> None:
        self._part = (0.0, 1.0)
        self._furthest = 0.0  # of the thread that looks

    @contextmanager
    def part(self, begin: float, end: float) -> Iterator[Step]:
        """Say that the context leads from one share of the whole to another; give what to tell its steps."""
        self._part = begin, end

        def step(number: int, steps: int) -> None:
            each = (end - begin) / steps
            self._part = begin + each * number, begin + each * (number + 1)

        yield step

    def furthest(self, of_statement: float) -> float:
        """Return the share of the whole; it never goes back, as DuckDB's figure does within a statement."""
        begin, end = self._part
        now = begin + (end - begin) * max(0.0, min(1.0, of_statement))
        self._furthest = max(self._furthest, now)
        return self._furthest


@contextmanager
def told_how_far(connection: duckdb.DuckDBPyConnection, tell: Tell | None) -> Iterator[Progress]:
    """Tell how far a connection's statements have come, several times a second, while the context lasts."""
    progress = Progress()
    if tell is None:
        yield progress
        return
    connection.execute("SET enable_progress_bar = true")
    connection.execute("SET enable_progress_bar_print = false")
    done = threading.Event()

    def look() -> None:
        while not done.wait(_LOOK_SECONDS):
            tell(progress.furthest(connection.query_progress() / 100))

    watcher = threading.Thread(target=look, name="falaj-progress")
    watcher.start()
    try:
        yield progress
    finally:
        done.set()
        watcher.join()

"""How far a statement of DuckDB has come, while it runs."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import duckdb

Tell = Callable[[float], None]  # of the share that is done, 0 to 1, from a thread of its own
_LOOK_SECONDS = 0.1


@contextmanager
def told_how_far(connection: duckdb.DuckDBPyConnection, tell: Tell | None) -> Iterator[None]:
    """Tell how far the connection's statement has come, several times a second, until the context is left.

    It never goes back: DuckDB's own figure begins anew with each part of a statement's plan.
    """
    if tell is None:
        yield
        return
    connection.execute("SET enable_progress_bar = true")
    connection.execute("SET enable_progress_bar_print = false")
    done = threading.Event()

    def look() -> None:
        furthest = 0.0
        while not done.wait(_LOOK_SECONDS):
            furthest = max(furthest, min(1.0, connection.query_progress() / 100))
            tell(furthest)

    watcher = threading.Thread(target=look, name="falaj-progress")
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()

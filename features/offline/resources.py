"""What work on the offline store may take, and the connection that is held to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb

from falaj._core import usable_cores
from falaj.features.offline.sql import blaming

_UNITS = {"bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}


@dataclass(frozen=True)
class Resources:
    """What an export may take.

    Args:
        memory: As DuckDB has it, such as `2GB`; what does not fit is put beside the output meanwhile. None:
            four fifths of the machine's.
        threads: None: as many as there are cores.
    """

    memory: str | None = None
    threads: int | None = None

    @property
    def cores(self) -> int:
        """The number of threads."""
        return usable_cores() if self.threads is None else self.threads


MOST = Resources()


def connect(resources: Resources, scratch: str) -> duckdb.DuckDBPyConnection:
    """Return a database in memory that puts what does not fit into the folder `scratch`.

    Raises:
        DataError: DuckDB knows no such size or number of threads.
    """
    config: dict[str, str | bool | int | float | list[str]] = {"temp_directory": scratch}
    if resources.memory is not None:
        config["memory_limit"] = resources.memory
    if resources.threads is not None:
        config["threads"] = resources.threads
    with blaming("resources"):
        return duckdb.connect(config=config)


def memory_bytes(connection: duckdb.DuckDBPyConnection) -> int:
    """Return about how much memory a connection may take."""
    found = connection.execute("SELECT current_setting('memory_limit')").fetchone()
    assert found is not None
    number, unit = str(found[0]).split()
    return int(float(number) * _UNITS[unit])


@contextmanager
def leaving_half(connection: duckdb.DuckDBPyConnection, memory: int) -> Iterator[None]:
    """Hold a connection to half of `memory`, in bytes; the other half is for arrays meanwhile."""
    connection.execute(f"SET memory_limit = '{memory // 2}B'")
    try:
        yield
    finally:
        connection.execute(f"SET memory_limit = '{memory}B'")

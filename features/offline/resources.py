"""What work on the offline store may take, and the connection that is held to it."""

from dataclasses import dataclass

import duckdb

from falaj.features.offline.sql import blaming


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

"""Where the rows of a view come from."""

import re
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path

from falaj.features.errors import DefinitionError

PUSHED_SEQUENCE = "__sequence"  # the column of pushed rows that orders them where the view has none
# A user with a password before the host, or a password as a parameter.
_PASSWORD = re.compile(r"^[^:]+://[^/@:]*:[^@]*@|[?&](password|passwd|pwd)=", re.IGNORECASE)
_ENV = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class _Files:
    """Files of one kind.

    Args:
        glob: Which, such as `data/orders/*.parquet`; read in the order of their paths.

    Raises:
        DefinitionError: `glob` is empty.
    """

    glob: str

    def __post_init__(self) -> None:
        if not self.glob:
            raise DefinitionError("source: expected the path of files, got none")


class ParquetFiles(_Files):
    """Parquet files."""


class CsvFiles(_Files):
    """CSV files with a head line, in UTF-8. An empty field that is not quoted is null."""


@dataclass(frozen=True)
class SqlQuery:
    """Rows of a SELECT in another database.

    Args:
        url: As SQLAlchemy has it, such as `sqlite:///crm.db`, or `env:NAME`: the variable of the environment
            that has it where the rows are read.
        query: In the database's own SQL. Without ORDER BY its rows have no order that is the same each time.

    Raises:
        DefinitionError: One is empty, or the URL has a password: definitions are kept and shown.
    """

    url: str
    query: str

    def __post_init__(self) -> None:
        if not self.query.strip():
            raise DefinitionError("source: query: expected a SELECT, got none")
        if self.url.startswith("env:"):
            if not _ENV.fullmatch(self.url):
                raise DefinitionError(f"source: url: expected env:NAME, got {self.url!r}")
        elif "://" not in self.url:
            raise DefinitionError("source: url: expected a URL such as sqlite:///crm.db, or env:NAME")
        elif _PASSWORD.search(self.url):
            raise DefinitionError(
                "source: url: has a password, which would be kept with the definition; put the URL into an "
                "environment variable and say env:NAME"
            )


@dataclass(frozen=True)
class PushedRows:
    """Rows that are pushed, and kept as they come; see pushed_log.py.

    Args:
        folder: Where they are kept, of all views that are made of them. `falaj features apply` makes it.
        at: A folder with the files as they were at a time, that are read instead; no part of a definition.

    Raises:
        DefinitionError: `folder` is empty.
    """

    folder: str
    at: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not self.folder:
            raise DefinitionError("source: expected the folder where pushed rows are kept, got none")

    @property
    def glob(self) -> str:
        """The Parquet files to read. Raises ValueError where they are not fixed by `at`."""
        if not self.at:
            raise ValueError(f"{self.folder}: pushed rows are read as they were at a time")
        return f"{escape(self.at)}/*.parquet"

    def kept_as(self, path: str) -> str:
        """Return where a file of `at` is kept."""
        return f"{self.folder}/{Path(path).name}"


Source = ParquetFiles | CsvFiles | SqlQuery | PushedRows

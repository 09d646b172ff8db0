"""Where the rows of a view come from."""

import re
from dataclasses import dataclass

from falaj.features.errors import DefinitionError

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


Source = ParquetFiles | CsvFiles | SqlQuery

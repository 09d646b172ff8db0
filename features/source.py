"""Where the rows of a view come from."""

from dataclasses import dataclass

from falaj.features.errors import DefinitionError


@dataclass(frozen=True)
class ParquetFiles:
    """Parquet files.

    Args:
        glob: Which, such as `data/orders/*.parquet`; read in the order of their paths.

    Raises:
        DefinitionError: `glob` is empty.
    """

    glob: str

    def __post_init__(self) -> None:
        if not self.glob:
            raise DefinitionError("source: expected the path of files, got none")


@dataclass(frozen=True)
class CsvFiles:
    """CSV files with a head line, in UTF-8. An empty field that is not quoted is null.

    Args:
        glob: Which; read in the order of their paths.

    Raises:
        DefinitionError: `glob` is empty.
    """

    glob: str

    def __post_init__(self) -> None:
        if not self.glob:
            raise DefinitionError("source: expected the path of files, got none")


Source = ParquetFiles | CsvFiles

"""Where the rows of a view come from."""

from dataclasses import dataclass

from falaj.features.errors import DefinitionError


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


Source = ParquetFiles | CsvFiles

"""Feature definitions, offline and online stores, point-in-time export."""

from falaj.features.aggregate import Aggregate
from falaj.features.column import Column
from falaj.features.entity import Entity
from falaj.features.errors import DataError, DefinitionError
from falaj.features.source import CsvFiles, ParquetFiles, PushedRows, Source, SqlQuery
from falaj.features.view import Tags, View

__all__ = [
    "Aggregate",
    "Column",
    "CsvFiles",
    "DataError",
    "DefinitionError",
    "Entity",
    "ParquetFiles",
    "PushedRows",
    "Source",
    "SqlQuery",
    "Tags",
    "View",
]

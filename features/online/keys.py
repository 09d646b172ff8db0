"""Keys of entities as the command line has them: written out, or in a file."""

from collections.abc import Mapping, Sequence

from falaj.features.datatypes import Value, accepts
from falaj.features.errors import DataError

MOST_ENTITIES = 100_000  # of a file: for more there are training sets
_ROW = "__row"


def keys_written(texts: Sequence[str], datatypes: Mapping[str, str]) -> dict[str, list[Value]]:
    """Return the key columns that texts such as `user=a,item=3` tell, one entity each.

    Raises:
        DataError: One is not of that form, or has other keys than these.
    """
    keys: dict[str, list[Value]] = {key: [] for key in datatypes}
    for text in texts:
        pairs = [pair.partition("=") for pair in text.split(",")]
        if sorted(name for name, _, _ in pairs) != sorted(datatypes) or not all(is_ for _, is_, _ in pairs):
            expected = ",".join(f"{key}=…" for key in datatypes)
            raise DataError(f"--key: expected {expected}, got {text!r}")
        for name, _, value in pairs:
            keys[name].append(_read(value, datatypes[name], f"--key: {name!r}"))
    return keys


def keys_of_file(path: str, datatypes: Mapping[str, str]) -> dict[str, list[Value]]:
    """Return the key columns of a CSV or Parquet file, in the order of its rows; its other columns are left.

    Raises:
        DataError: It cannot be read, lacks a key, has another type or a null there, or too many rows.
    """
    import duckdb

    from falaj.features.offline.sql import blaming, csv_sql, csv_type, parquet_sql, quoted, whole_sql

    is_csv = path.endswith((".csv", ".csv.gz"))
    if not is_csv and not path.endswith(".parquet"):
        raise DataError(f"--keys: expected a file named .csv, .csv.gz or .parquet, got {path!r}")
    read_as = {key: csv_type(of) for key, of in datatypes.items()}
    rows = csv_sql(path, _ROW, read_as) if is_csv else parquet_sql(path, _ROW)
    with blaming(f"--keys {path}"), duckdb.connect() as connection:
        types = {str(name): str(of) for name, of, *_ in connection.execute(f"DESCRIBE {rows}").fetchall()}
        columns = []
        for key, datatype in datatypes.items():
            if key not in types:
                there = ", ".join(name for name in types if name != _ROW)
                raise DataError(f"--keys {path}: no column {key!r}, it has {there}")
            is_text = is_csv and "INT" in datatype
            if not is_text and not accepts(datatype, types[key]):
                raise DataError(f"--keys {path}: {key!r}: expected {datatype}, got {types[key]}")
            column = quoted(key)
            columns.append(whole_sql(column, datatype, f"--keys {path}, {key}") if is_text else column)
        asked = f"SELECT {', '.join(columns)} FROM ({rows}) ORDER BY {_ROW} LIMIT {MOST_ENTITIES + 1}"
        found = connection.execute(asked).fetchall()
    if len(found) > MOST_ENTITIES:
        raise DataError(
            f"--keys {path}: expected at most {MOST_ENTITIES} rows, got more; see falaj features export"
        )
    for row, values in enumerate(found):
        if None in values:
            key = list(datatypes)[values.index(None)]
            raise DataError(f"--keys {path}: {key!r}: row {row} has none")
    return {key: [row[place] for row in found] for place, key in enumerate(datatypes)}


def columns_of(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of texts as a table for people, the head first."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _read(text: str, datatype: str, where: str) -> Value:
    if datatype == "BYTES":
        return text
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal()):
        raise DataError(f"{where}: expected {datatype}, got {text!r}")
    return int(text)

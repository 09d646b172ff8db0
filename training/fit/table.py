"""The rows that a model is fitted on, as arrays."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.features.column import Column
from falaj.features.errors import DataError
from falaj.features.file_seen import FileSeen
from falaj.training.errors import TrainingError
from falaj.training.fit.spec import DataSpec
from falaj.training.original import Task

_TIMES = ("TIMESTAMP", "DATE", "TIME")
_TEXT = ("VARCHAR", "UUID", "ENUM")
_NUMBERS = ("BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE", "DECIMAL")
_MOST_CLASSES = 20


@dataclass(frozen=True)
class Source:
    """What the rows came from.

    Attributes:
        manifest: Of a feature export.
        left_out: Columns that are no features by default, and why not.
        rows_left_out: Those that a model bound by `reject` would not answer.
    """

    files: tuple[FileSeen, ...]
    manifest: FileSeen | None
    left_out: Mapping[str, str]
    rows_left_out: int = 0


@dataclass(frozen=True)
class Table:
    """Rows in the order of the files.

    Attributes:
        matrix: FP32 [rows, numbers], NaN where there is no value.
        numbers: Its columns.
        categories: By column, `object` arrays of str, '' where there is no value.
        target: Of classes INT64 places in `classes`, else FP64.
        time: INT64, UTC microseconds since 1970.
        group: `object` array of str.
        segments: By column, `object` arrays of str.
    """

    matrix: NDArray[np.float32]
    numbers: tuple[str, ...]
    categories: Mapping[str, NDArray[Any]]
    target: NDArray[Any]
    task: Task
    classes: tuple[int | str, ...]
    time: NDArray[np.int64] | None
    group: NDArray[Any] | None
    segments: Mapping[str, NDArray[Any]]
    source: Source

    def __len__(self) -> int:
        return len(self.target)

    def take(self, rows: NDArray[Any]) -> "Table":
        """Return some rows, by a mask or by their places."""
        return replace(
            self,
            matrix=self.matrix[rows],
            categories={name: values[rows] for name, values in self.categories.items()},
            target=self.target[rows],
            time=None if self.time is None else self.time[rows],
            group=None if self.group is None else self.group[rows],
            segments={name: values[rows] for name, values in self.segments.items()},
        )


@dataclass(frozen=True)
class _Export:
    """What the manifest of a feature export says of its columns."""

    seen: FileSeen
    time: str
    keys: frozenset[str]
    features: Mapping[str, Column]
    status: Mapping[str, str]  # of a view's feature, the column with its status
    statuses: tuple[str, ...]


def read_table(data: DataSpec) -> Table:
    """Read the rows.

    Of a feature export, a feature that is null has what a model served gets: the column's default, and NaN
    (of text, nothing) where it has none.

    Raises:
        TrainingError: The files cannot be read or are not what the manifest says, a column is not there or
            has no use, or a target or a time is null.
    """
    try:
        import duckdb
    except ImportError as error:
        raise TrainingError(
            "training: the package duckdb is missing: pip install 'falaj[training]'"
        ) from error
    export = _export_of(Path(data.path))
    files, rows = _files_of(data.path)
    data = data if data.time or export is None else replace(data, time=export.time)
    connection = duckdb.connect()
    try:
        with _blaming(data.path):
            connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
            connection.execute("SET preserve_insertion_order = true")
            described = connection.execute(f"DESCRIBE SELECT * FROM {rows}").fetchall()
            types = {str(each[0]): str(each[1]) for each in described}
            chosen, left_out = _choose(data, types, export)
            return _Reading(connection, rows, data, types, export).table(
                chosen, Source(files, None if export is None else export.seen, left_out)
            )
    finally:
        connection.close()


class _Reading:
    """Reads the columns of one relation of DuckDB."""

    def __init__(
        self, connection: Any, rows: str, data: DataSpec, types: Mapping[str, str], export: _Export | None
    ) -> None:
        self._data, self._types, self._export = data, types, export
        self._columns: dict[str, Any] = connection.execute(_sql(data, types, rows)).fetchnumpy()

    def table(self, chosen: tuple[str, ...], source: Source) -> Table:
        numbers = [name for name in chosen if not self._is_category(name)]
        categories = [name for name in chosen if self._is_category(name)]
        of_target = self._columns[self._data.target]
        if np.ma.getmaskarray(of_target).any():
            row = int(np.flatnonzero(np.ma.getmaskarray(of_target))[0])
            raise TrainingError(f"{self._data.path}, target {self._data.target!r}: null in row {row}")
        task, classes, target = _target(np.ma.getdata(of_target), self._data)
        matrix = np.empty((len(target), len(numbers)), np.float32)
        for i, name in enumerate(numbers):
            matrix[:, i] = self._number(name)
        table = Table(
            matrix=matrix,
            numbers=tuple(numbers),
            categories={name: self._category(name) for name in categories},
            target=target,
            task=task,
            classes=classes,
            time=self._time(),
            group=None if self._data.group is None else self._needed(self._data.group),
            segments={name: self._text(name) for name in self._data.segments},
            source=source,
        )
        if not len(table):
            raise TrainingError(f"{self._data.path}: has no rows")
        return self._without_refused(table, chosen)

    def _is_category(self, name: str) -> bool:
        return name in self._data.categories or self._types[name].startswith(_TEXT)

    def _number(self, name: str) -> NDArray[np.float32]:
        found = self._columns[name]
        missing = np.ma.getmaskarray(found)
        with np.errstate(over="ignore"):  # what is too large for FP32 is infinite, as when it is served
            values: NDArray[np.float32] = np.ma.getdata(found).astype(np.float32)
        values[missing] = np.nan
        feature = None if self._export is None else self._export.features.get(name)
        if feature is not None and feature.default is not None:
            missing = missing & ~self._nothing(name)
            own = np.array(feature.default, _DTYPES.get(feature.datatype, np.float64))
            values[missing] = own.astype(np.float32)
        return values

    def _category(self, name: str) -> NDArray[Any]:
        values = self._text(name)
        feature = None if self._export is None else self._export.features.get(name)
        if feature is not None and feature.default is not None:
            missing = np.ma.getmaskarray(self._columns[name]) & ~self._nothing(name)
            values[missing] = str(feature.default)
        return values

    def _text(self, name: str) -> NDArray[Any]:
        found = self._columns[f"text:{name}" if f"text:{name}" in self._columns else name]
        missing = np.ma.getmaskarray(found)
        values: NDArray[Any] = np.array(np.ma.getdata(found), dtype=object)
        values[missing] = ""
        return values

    def _needed(self, name: str) -> NDArray[Any]:
        missing = np.ma.getmaskarray(self._columns[f"text:{name}"])
        if missing.any():
            row = int(np.flatnonzero(missing)[0])
            raise TrainingError(f"{self._data.path}, column {name!r}: null in row {row}")
        return self._text(name)

    def _time(self) -> NDArray[np.int64] | None:
        if self._data.time is None:
            return None
        found = self._columns["time:"]
        if np.ma.getmaskarray(found).any():
            row = int(np.flatnonzero(np.ma.getmaskarray(found))[0])
            raise TrainingError(f"{self._data.path}, time {self._data.time!r}: null in row {row}")
        return np.ma.getdata(found).astype(np.int64)

    def _nothing(self, name: str) -> NDArray[np.bool_]:
        """Rows for which a default does not serve: those of entities that are missing, by `nan`."""
        if self._export is None or self._data.on_missing != "nan" or name not in self._export.status:
            return np.zeros(len(self._columns[name]), bool)
        return np.asarray(self._status_of(name) != "present")

    def _status_of(self, name: str) -> NDArray[np.str_]:
        """Of a feature's view, of each row."""
        status = {} if self._export is None else self._export.status
        return np.ma.getdata(self._columns[status[name]]).astype(str)

    def _without_refused(self, table: Table, chosen: tuple[str, ...]) -> Table:
        if self._export is None or self._data.on_missing != "reject":
            return table
        kept = np.ones(len(table), bool)
        for name in chosen:
            if name in self._export.status:
                kept &= self._status_of(name) == "present"
        source = replace(table.source, rows_left_out=int(len(kept) - kept.sum()))
        return replace(table.take(kept), source=source)


_DTYPES: Mapping[str, Any] = {
    **{f"{sign}INT{bits}": f"{sign.lower()}int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)},
    "FP32": np.float32,
    "FP64": np.float64,
    "BOOL": np.bool_,
}


def _sql(data: DataSpec, types: Mapping[str, str], rows: str) -> str:
    """SQL for every column as it is used; as text, and as a time, under names of their own."""
    from falaj.features.offline.sql import quoted

    named = []
    for name, of in types.items():
        if of.startswith("DECIMAL") or of == "HUGEINT":
            named.append(f"{quoted(name)}::DOUBLE AS {quoted(name)}")
        elif of.startswith(_TEXT):
            named.append(f"{quoted(name)}::VARCHAR AS {quoted(name)}")
        elif of.startswith(_NUMBERS) or of.startswith("U"):
            named.append(quoted(name))
    for name in {*data.categories, *data.segments, *([data.group] if data.group else [])}:
        named.append(f"{quoted(name)}::VARCHAR AS {quoted(f'text:{name}')}")
    if data.time is not None:
        named.append(f"{_micros_sql(data.time, types[data.time], data.path)} AS {quoted('time:')}")
    return f"SELECT {', '.join(named)} FROM {rows}"


def _micros_sql(time: str, of: str, path: str) -> str:
    from falaj.features.offline.sql import micros_sql, quoted

    column, where = quoted(time), f"{path}, time {time!r}"
    if of == "DATE" or (of.startswith("TIMESTAMP") and "TZ" not in of and "ZONE" not in of):
        # Only order, days and months are taken of it: any one time zone does.
        return f"epoch_us({column}::TIMESTAMP)"
    if of.startswith("TIMESTAMP"):
        return micros_sql(f"{column}::TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE", where)
    if of.startswith(_NUMBERS):
        return micros_sql(f"{column}::BIGINT", "BIGINT", where)
    return micros_sql(column, of, where)


def _choose(
    data: DataSpec, types: Mapping[str, str], export: _Export | None
) -> tuple[tuple[str, ...], dict[str, str]]:
    """The features, in the order of the file or of the specification; and what is none by default."""
    named = (data.target, data.time, data.group, *(data.features or ()), *data.exclude, *data.categories)
    for name in (*named, *data.segments):
        if name is not None and name not in types:
            raise TrainingError(f"{data.path}: no column {name!r}, it has {', '.join(types)}")
    left_out: dict[str, str] = {}
    for name, of in types.items():
        if name == data.target:
            left_out[name] = "target"
        elif name == data.time or (export is not None and name == export.time):
            left_out[name] = "time"
        elif name == data.group:
            left_out[name] = "group"
        elif name in data.exclude:
            left_out[name] = "excluded"
        elif export is not None and name in export.keys and name not in data.categories:
            left_out[name] = "key"
        elif export is not None and name in export.statuses:
            left_out[name] = "status"
        elif not (of.startswith((*_TEXT, *_NUMBERS)) or (of.startswith("U") and of.endswith("INT"))):
            left_out[name] = of
    if data.features is None:
        chosen = tuple(name for name in types if name not in left_out)
    else:
        chosen = data.features
        for name in chosen:
            if left_out.get(name) not in (None, "key", "group"):
                raise TrainingError(f"{data.path}, feature {name!r}: is no feature: {left_out[name]}")
            left_out.pop(name, None)
        left_out |= {name: "not chosen" for name in types if name not in chosen and name not in left_out}
    if not chosen:
        raise TrainingError(f"{data.path}: no column is left as a feature; {', '.join(types)} are none")
    return chosen, left_out


def _target(values: NDArray[Any], data: DataSpec) -> tuple[Task, tuple[int | str, ...], NDArray[Any]]:
    """The task, the classes, and the target as places in them or as numbers."""
    where = f"{data.path}, target {data.target!r}"
    is_float = values.dtype.kind == "f"
    if is_float and not np.isfinite(values).all():
        raise TrainingError(f"{where}: expected finite numbers, got one that is not")
    if values.dtype.kind == "O":
        values = values.astype(str)
    found, codes = np.unique(values, return_inverse=True)
    whole = values.dtype.kind in "biu" or (is_float and bool((found == np.floor(found)).all()))
    task: Task
    if data.task != "auto":
        task = data.task
    elif values.dtype.kind == "U" or len(found) <= 2:
        task = "binary" if len(found) == 2 else "multiclass"
    elif whole and len(found) <= _MOST_CLASSES:
        raise TrainingError(
            f"{where}: {len(found)} whole numbers; say data.task: 'multiclass' or 'regression'"
        )
    else:
        task = "regression"
    if task == "regression":
        if values.dtype.kind == "U":
            raise TrainingError(f"{where}: expected numbers for a regression, got text")
        return task, (), values.astype(np.float64)
    if not whole and values.dtype.kind != "U":
        raise TrainingError(f"{where}: expected classes, got numbers that are not whole")
    if (task == "binary" and len(found) != 2) or len(found) < 2:
        raise TrainingError(
            f"{where}: expected {'2' if task == 'binary' else '2 or more'} classes, got {len(found)}"
        )
    classes = tuple(str(each) if values.dtype.kind == "U" else int(each) for each in found)
    return task, classes, codes.astype(np.int64).reshape(-1)


def _export_of(path: Path) -> _Export | None:
    """What the manifest beside a file or folder says of it; None where there is none."""
    from falaj.features.identity import view_of
    from falaj.features.offline.manifest import read_manifest, see, see_folder

    beside = Path(f"{path}.manifest.json")
    if not beside.is_file():
        return None
    try:
        manifest = read_manifest(beside)
        views = [view_of(each.meaning) for each in manifest.views]
    except DataError as error:
        raise TrainingError(str(error)) from error
    written = see_folder(path, "part-*.parquet") if path.is_dir() else see(path)
    if written.sha256 != manifest.out.sha256:
        raise TrainingError(
            f"{path}: is not what its manifest tells: sha256 {written.sha256}, there {manifest.out.sha256}"
        )
    features = {f"{view.name}__{column.name}": column for view in views for column in view.features}
    status = {
        f"{view.name}__{column.name}": f"{view.name}__status" for view in views for column in view.features
    }
    seen = see(beside)
    return _Export(
        seen=seen,
        time=manifest.spine_time,
        keys=frozenset(key for view in views for key in view.entity.keys),
        features=features,
        status=status,
        statuses=tuple(f"{view.name}__status" for view in views),
    )


def _files_of(path: str) -> tuple[tuple[FileSeen, ...], str]:
    """The files, and SQL for their rows."""
    from falaj.features.offline.manifest import see_all
    from falaj.features.offline.sql import literal

    pattern = f"{path.rstrip('/')}/*.parquet" if Path(path).is_dir() else path
    seen = see_all(pattern)
    if not seen:
        raise TrainingError(f"{path}: no such file")
    names = [each.path for each in seen]
    listed = f"[{', '.join(literal(name) for name in names)}]"
    if all(name.endswith(".parquet") for name in names):
        rows = f"read_parquet({listed})"
    elif all(name.endswith((".csv", ".csv.gz")) for name in names):
        rows = f"read_csv({listed}, header = true, nullstr = '', sample_size = -1)"
    else:
        raise TrainingError(f"{path}: expected files of Parquet, or of CSV, by their names' endings")
    return seen, rows


@contextmanager
def _blaming(path: str) -> Iterator[None]:
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        raise TrainingError(f"{path}: {error}") from error
    except DataError as error:
        raise TrainingError(str(error)) from error

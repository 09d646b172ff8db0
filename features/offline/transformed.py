"""The part of an export that is transforms: what a model behind them gets, computed from what was joined.

Where there is no value, the one is taken that a served model gets (csrc/join/join_plan.h), and numbers become
floats as they do there; so both have the same bits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import duckdb
import numpy as np
import numpy.typing as npt

from falaj.features.binding import OnMissing
from falaj.features.column import Column
from falaj.features.datatypes import DUCKDB_TYPES, FLOATS, accepts
from falaj.features.errors import DataError, DefinitionError
from falaj.features.offline.arrow_columns import arrow_of, arrow_type, nulls_of, values_of
from falaj.features.offline.point_in_time import PRESENT, SPINE_ROW, Joined
from falaj.features.transform import Transform
from falaj.features.transform.evaluate import dtype_of

_Array: TypeAlias = npt.NDArray[Any]
_ROWS = 65_536  # that are computed at once


@dataclass(frozen=True)
class Transforms:
    """What is computed at request time.

    Args:
        transforms: In the order in which they run; one may take what an earlier one gives.
        on_missing: As the model is bound, see binding.py. By `reject`, rows whose request would be refused
            have null for what is computed.
    """

    transforms: tuple[Transform, ...] = ()
    on_missing: OnMissing = "default"

    @property
    def outputs(self) -> dict[str, str]:
        """The columns that they add, and their datatypes."""
        return {name: of for each in self.transforms for name, of in each.outputs.items()}


NONE = Transforms()


@dataclass(frozen=True)
class _Feature:
    joined: Joined
    column: Column

    @property
    def name(self) -> str:
        return self.joined.column(self.column.name)


class Computation:
    """Transforms of the columns of one export. Immutable.

    Attributes:
        of: The transforms.
        taken: The columns of the export that are read, in order: features, their views' statuses, and values
            of the spine, which stand for those that requests bring.
        values: Of these, those of the spine, with the datatypes that they have to have.
        outputs: What is computed, with its datatypes.
    """

    def __init__(self, of: Transforms, joined: Sequence[Joined], spine: Mapping[str, str]) -> None:
        """Find the columns that transforms take.

        Args:
            spine: Its columns, and DuckDB's types of them.

        Raises:
            DefinitionError: A column that is taken is not there, or of a type that does not fit; or two
                columns of the result would have one name.
        """
        self.of = of
        self.outputs = of.outputs
        self._features = {
            feature.name: feature
            for view in joined
            for feature in (_Feature(view, column) for column in view.view.features)
        }
        self.values: dict[str, str] = {}
        taken: dict[str, None] = {}
        given: dict[str, str] = {}
        for each in of.transforms:
            for name, datatype in each.inputs.items():
                if name in given:
                    _expect(given[name] == datatype, each, name, datatype, given[name])
                elif name in self._features:
                    self._check_feature(each, self._features[name], datatype)
                    taken.update(dict.fromkeys((name, self._features[name].joined.status)))
                else:
                    self._take_value(each, name, datatype, spine)
                    taken[name] = None
            given.update(each.outputs)
        self._check_names(joined, spine)
        self.taken = tuple(taken)

    def __call__(self, columns: Mapping[str, Any], rows: _Array) -> dict[str, tuple[_Array, _Array]]:
        """Return what is computed for some rows: values, and which of them are not null.

        Args:
            columns: Those that are taken, as arrays of Arrow.
            rows: Their numbers in the spine, for errors.

        Raises:
            DataError: A value that a request would bring is null.
        """
        computed: dict[str, _Array] = {}
        served: dict[str, _Array] = {}
        for each in self.of.transforms:
            inputs, of_all = {}, np.ones(len(rows), bool)
            for name, datatype in each.inputs.items():
                if name in computed:
                    inputs[name] = computed[name]
                    of_all &= served[name]
                elif name in self._features:
                    feature = self._features[name]
                    status = columns[feature.joined.status]
                    inputs[name], is_present = self._filled(feature, columns[name], status, datatype)
                    if self.of.on_missing == "reject":
                        of_all &= is_present
                else:
                    inputs[name] = _brought(columns[name], datatype, f"{each}, input {name!r}", rows)
            for name, values in each(**inputs).items():
                computed[name], served[name] = values, of_all
        return {name: (values, served[name]) for name, values in computed.items()}

    def value_sql(self, column: str, name: str) -> str:
        """Return SQL for a value of the spine as a request brings it."""
        return f"{column}::{DUCKDB_TYPES[self.values[name]]}"

    def _filled(self, feature: _Feature, values: Any, status: Any, datatype: str) -> tuple[_Array, _Array]:
        """A feature as a model gets it, and which rows are present."""
        import pyarrow.compute as pc

        dtype, default = dtype_of(datatype), feature.column.default
        is_null = nulls_of(values)
        is_present = pc.equal(status, PRESENT).to_numpy(zero_copy_only=False)
        made = values_of(values, feature.column.datatype).astype(dtype)
        nothing = np.array(np.nan if datatype in FLOATS else "" if datatype == "BYTES" else 0, dtype)
        fallback = nothing
        if default is not None:
            fallback = np.array(default, dtype_of(feature.column.datatype)).astype(dtype)
        made[is_null] = fallback
        if self.of.on_missing == "nan":
            made[~is_present] = nothing
        return made, is_present

    def _check_feature(self, each: Transform, feature: _Feature, datatype: str) -> None:
        own = feature.column.datatype
        fits = own == datatype or (datatype in FLOATS and own != "BYTES")
        _expect(fits, each, feature.name, datatype, own)
        if datatype not in FLOATS and (feature.column.default is None or self.of.on_missing == "nan"):
            raise DefinitionError(
                f"{each}, input {feature.name!r}: has no default, and {datatype} has no NaN"
            )

    def _take_value(self, each: Transform, name: str, datatype: str, spine: Mapping[str, str]) -> None:
        if name not in spine:
            there = ", ".join((*self._features, *spine))
            raise DefinitionError(f"{each}, input {name!r}: is neither a feature nor of the spine: {there}")
        _expect(accepts(datatype, spine[name]), each, name, datatype, spine[name])
        _expect(self.values.setdefault(name, datatype) == datatype, each, name, datatype, self.values[name])

    def _check_names(self, joined: Sequence[Joined], spine: Mapping[str, str]) -> None:
        taken = [*spine, *(view.status for view in joined), *self._features]
        lower = {name.lower() for name in taken}  # DuckDB does not tell them apart by case
        for each in self.of.transforms:
            for name in each.outputs:
                if name.lower() in lower:
                    raise DefinitionError(f"{each}, output {name!r}: is the name of another column already")
                lower.add(name.lower())


def write_computed(
    connection: duckdb.DuckDBPyConnection, rows: str, computation: Computation, path: Path
) -> None:
    """Write SPINE_ROW and what is computed to a Parquet file, so many rows at a time.

    Args:
        rows: SQL for SPINE_ROW and the columns that are taken.

    Raises:
        DataError: A value that a request would bring is null, or does not fit.
    """
    import pyarrow as pa
    from pyarrow import parquet

    columns = {name: arrow_type(datatype) for name, datatype in computation.outputs.items()}
    schema = pa.schema([(SPINE_ROW, pa.int64()), *columns.items()])
    try:
        with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
            first = 0
            for batch in connection.sql(rows).to_arrow_reader(_ROWS):
                end = first + batch.num_rows
                writer.write_batch(computed_batch(batch, computation, np.arange(first, end)))
                first = end
    except OSError as error:  # DuckDB's, too, where it is not of the first rows
        raise DataError(f"transforms: {error}") from error


def computed_batch(batch: Any, computation: Computation, rows: _Array, *, widened: bool = False) -> Any:
    """Return SPINE_ROW and what is computed of a batch of Arrow that has that and what is taken.

    Args:
        rows: Their numbers in the spine, for errors.
        widened: Unsigned integers come in the next wider type.
    """
    import pyarrow as pa

    taken = {name: batch.column(name) for name in computation.taken}
    arrays = {SPINE_ROW: batch.column(SPINE_ROW)}
    for name, (values, valid) in computation(taken, rows).items():
        arrays[name] = arrow_of(values, valid, computation.outputs[name], widened)
    return pa.RecordBatch.from_pydict(arrays)


def _brought(values: Any, datatype: str, where: str, rows: _Array) -> _Array:
    if values.null_count:
        row = int(rows[np.flatnonzero(nulls_of(values))[0]])
        raise DataError(f"{where}: null in row {row} of the spine; a request always brings it")
    return values_of(values, datatype)


def _expect(fits: bool, each: Transform, name: str, datatype: str, got: str) -> None:
    if not fits:
        raise DefinitionError(f"{each}, input {name!r}: is {datatype}, there it is {got}")

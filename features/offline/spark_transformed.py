"""Transforms on Spark, computed where it has its Python, by the code that computes them for DuckDB's sets."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import types as t

from falaj.features.binding import as_on_missing
from falaj.features.identity import Plain, meaning, view_of
from falaj.features.offline.arrow_columns import values_of
from falaj.features.offline.manifest import TransformApplied, applied
from falaj.features.offline.point_in_time import SPINE_ROW, Joined
from falaj.features.offline.spark_demands import SPARK_TYPES
from falaj.features.offline.spark_history import column_of, typed_column
from falaj.features.offline.transformed import Computation, Transforms, computed_batch


def with_computed(
    found: DataFrame, computation: Computation, views: Sequence[Joined], spine: Mapping[str, str]
) -> DataFrame:
    """Return a spine with its features and what is computed of them.

    Args:
        found: The spine with its features and SPINE_ROW.
        computation: Of these views and this spine.
    """
    if not computation.outputs:
        return found
    of = computation.of
    taken = [
        typed_column(found, name, computation.values[name], f"spine, {name}").alias(name)
        if name in computation.values
        else column_of(name)
        for name in computation.taken
    ]
    fields = [t.StructField(name, SPARK_TYPES[datatype]) for name, datatype in of.outputs.items()]
    schema = t.StructType([t.StructField(SPINE_ROW, t.LongType()), *fields])
    told = {
        "transforms": [(each.name, each.identity, each.program) for each in map(applied, of.transforms)],
        "on_missing": of.on_missing,
        "views": [meaning(each.view) for each in views],
        "spine": dict(spine),
    }
    rows = found.select(SPINE_ROW, *taken)
    return found.join(rows.mapInArrow(partial(_computed, told=told), schema), SPINE_ROW)


def _computed(batches: Iterator[Any], told: Plain) -> Iterator[Any]:
    """Compute the rows of a partition; runs where Spark has its Python."""
    transforms = tuple(TransformApplied(*each).transform() for each in told["transforms"])
    views = [Joined(view_of(view), "") for view in told["views"]]
    computation = Computation(Transforms(transforms, as_on_missing(told["on_missing"])), views, told["spine"])
    for batch in batches:
        yield computed_batch(batch, computation, values_of(batch.column(SPINE_ROW), "INT64"), widened=True)

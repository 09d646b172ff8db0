"""A typed column."""

from dataclasses import dataclass

from falaj.features.datatypes import Value


@dataclass(frozen=True)
class Column:
    """A feature.

    Args:
        name: Of the column.
        datatype: By the Open Inference Protocol's name, such as FP32.
        default: What serves where the entity has no value, or an expired one; None: nothing does.
    """

    name: str
    datatype: str
    default: Value | None = None

"""What features are about: a customer, a card, a pair of a user and an item."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from falaj.features.datatypes import KEY_TYPES
from falaj.features.errors import DefinitionError

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
MOST_KEYS = 8


def check_name(name: str, where: str) -> str:
    """Return a name that can be a column's, a file's and a metric label's. Raises DefinitionError."""
    if not _NAME.fullmatch(name):
        raise DefinitionError(
            f"{where}: expected a name of small letters, digits and underscores, at most 63, got {name!r}"
        )
    return name


@dataclass(frozen=True)
class Entity:
    """A thing that has features.

    Args:
        name: Of the thing.
        keys: Its key columns and their datatypes, in order; more than one is a composite key.

    Raises:
        DefinitionError: A name or a datatype cannot be used.
    """

    name: str
    keys: Mapping[str, str]

    def __post_init__(self) -> None:
        where = f"entity {self.name!r}"
        check_name(self.name, where)
        if not 1 <= len(self.keys) <= MOST_KEYS:
            raise DefinitionError(f"{where}: expected 1 to {MOST_KEYS} keys, got {len(self.keys)}")
        for key, datatype in self.keys.items():
            check_name(key, f"{where}, key {key!r}")
            if datatype not in KEY_TYPES:
                expected = ", ".join(sorted(KEY_TYPES))
                raise DefinitionError(f"{where}, key {key!r}: expected one of {expected}, got {datatype!r}")
        object.__setattr__(self, "keys", MappingProxyType(dict(self.keys)))

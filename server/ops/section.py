"""What the tables of `falaj.toml` have in common: immutable, and checked when made."""

from typing import ClassVar

import msgspec

from falaj.server.errors import ConfigError

Bounds = dict[str, tuple[float, float]]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every table. One that exists is valid: it checks itself when it is made, whoever makes it."""

    BOUNDS: ClassVar[Bounds] = {}
    """The least and the largest value of each number, in the key's own unit."""

    def __post_init__(self) -> None:
        for key, (low, high) in self.BOUNDS.items():
            value = getattr(self, key)
            if value is not None and not low <= value <= high:  # NaN is in no range
                whole = "a whole number" if isinstance(value, int) else "a number"
                raise ConfigError(f"expected {whole} of {low:.15g} to {high:.15g}, got {value}", key=key)

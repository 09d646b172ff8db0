"""What an audit of the log of served features found, and the file that tells a running server of it."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from falaj.features.errors import DataError

# Why a value was served that a training set would not have; the first that applies.
VERSION = "version"  # by another definition than the one that is registered under its version
LATE = "late"  # the row had arrived, and the store had not been given it yet
TTL = "ttl"  # one says that it has expired, and the other does not
TRANSFORM = "transform"  # anything else, of a view with `sql` or aggregates
VALUE = "value"  # anything else
CAUSES = (VERSION, LATE, TTL, TRANSFORM, VALUE)
_FORMAT = 1


@dataclass(frozen=True)
class ColumnAudit:
    """A feature that was compared.

    Attributes:
        view: With its version, `profile@1`.
        compared: Values that were looked up; those that requests brought are left out.
        mismatches: How many of them differ, by cause; all of CAUSES are there.
    """

    view: str
    column: str
    compared: int
    mismatches: Mapping[str, int]

    @property
    def ratio(self) -> float:
        """The share of values that differ."""
        return sum(self.mismatches.values()) / self.compared if self.compared else 0.0


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        at_us: When it began, UTC µs.
        rows: Of the log that were looked at.
    """

    at_us: int
    rows: int
    columns: tuple[ColumnAudit, ...]

    @property
    def highest(self) -> float:
        """The highest ratio of a column."""
        return max((column.ratio for column in self.columns), default=0.0)

    def write(self, path: Path) -> None:
        """Write it as `read_audit` reads it, all or nothing."""
        path.parent.mkdir(parents=True, exist_ok=True)
        written = path.with_name(f".{path.name}.{os.getpid()}")
        written.write_text(json.dumps({"format": _FORMAT, **asdict(self)}) + "\n", encoding="utf-8")
        os.replace(written, path)


def read_audit(path: Path) -> Audit | None:
    """Return what the last audit found, None where there was none. Raises DataError where it is damaged."""
    try:
        plain = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    if not isinstance(plain, dict) or plain.get("format") != _FORMAT:
        raise DataError(f"{path}: is of another format than {_FORMAT}, which this Falaj has")
    return Audit(plain["at_us"], plain["rows"], tuple(ColumnAudit(**each) for each in plain["columns"]))

"""What checks found in the source of a registered view."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import duckdb

from falaj.features.checks import check
from falaj.features.identity import micros, view_of
from falaj.features.quarantine import write_by_hash
from falaj.features.raw_rows import create_parts
from falaj.features.registry import Registered
from falaj.features.source import PushedRows
from falaj.features.view import View


@dataclass(frozen=True)
class Report:
    """Of one view.

    Attributes:
        reasons: How many rows are bad, by reason.
        newest_us: When the newest good row became known.
        stale: Whether that is longer ago than the view's freshness allows; None where it demands none.
        quarantined: The file with the bad rows, where they were written.
    """

    view: str
    rows: int
    bad: int
    reasons: dict[str, int]
    newest_us: int | None
    stale: bool | None
    quarantined: str | None

    def lines(self) -> list[str]:
        """Return it as text."""
        stale = "" if self.stale is None else "; stale" if self.stale else "; fresh"
        lines = [f"{self.view}: {self.rows} rows, {self.bad} bad{stale}"]
        lines += [f"  {count} {reason}" for reason, count in self.reasons.items()]
        return lines if self.quarantined is None else [*lines, f"  written to {self.quarantined}"]


def is_stale(view: View, newest_us: int | None) -> bool | None:
    """Whether a view's newest row became known longer ago than it allows; None where it demands nothing."""
    if view.freshness is None:
        return None
    return newest_us is None or time.time_ns() // 1000 - newest_us > micros(view.freshness)


def check_source(found: Registered, folder: Path | None) -> Report:
    """Check a view's source, and write bad rows to a folder where one is given. Raises as `check`."""
    view = view_of(found.meaning, found.stewardship)
    with (
        tempfile.TemporaryDirectory(prefix="falaj-check-") as scratch,
        duckdb.connect(config={"temp_directory": scratch}) as connection,
    ):
        if isinstance(view.source, PushedRows):
            from falaj.features.pushed_log import pinned

            view = pinned(view, Path(scratch) / "pushed")
        checked = check(connection, view, create_parts(connection, view, Path(scratch)))
        written = None if folder is None else write_by_hash(connection, view, checked, folder)
    bad = sum(checked.reasons.values())
    return Report(
        view=f"{view.name}@{view.version}",
        rows=checked.good_rows + bad,
        bad=bad,
        reasons=dict(checked.reasons),
        newest_us=checked.newest_us,
        stale=is_stale(view, checked.newest_us),
        quarantined=None if written is None else str(written),
    )

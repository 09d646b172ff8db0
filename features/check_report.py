"""What checks found in the source of a registered view."""

import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from falaj.features.checks import check, create_raw, quarantine
from falaj.features.identity import micros, view_of
from falaj.features.registry import Registered

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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


def check_source(found: Registered, folder: Path | None) -> Report:
    """Check a view's source, and write bad rows to a folder where one is given. Raises as `check`."""
    view = view_of(found.meaning)
    allowed = found.stewardship.get("freshness_us")
    with (
        tempfile.TemporaryDirectory(prefix="falaj-check-") as scratch,
        duckdb.connect(config={"temp_directory": scratch}) as connection,
    ):
        create_raw(connection, view, "raw", Path(scratch))
        checked = check(connection, view, "raw")
        written = None if folder is None else quarantine(connection, view, checked, folder)
    stale = None
    if allowed is not None:
        now = micros(datetime.now(UTC) - _EPOCH)
        stale = checked.newest_us is None or now - checked.newest_us > allowed
    return Report(
        view=f"{view.name}@{view.version}",
        rows=checked.rows,
        bad=checked.bad_rows,
        reasons=dict(checked.reasons),
        newest_us=checked.newest_us,
        stale=stale,
        quarantined=None if written is None else str(written),
    )

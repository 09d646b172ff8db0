"""Prints which exports answer as their originals: every combination of model and data that the tests know.

The exit code is 1 where one passes or is refused that should not be.
"""

import argparse
import json
import re
import sys
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rich.console import Console
from rich.progress import track
from rich.table import Table

from falaj.training.errors import TrainingError
from falaj.training.gate.parity import check_parity
from tests.training.gate.combinations import Combination, combinations
from tests.training.graph.threads import one_thread

_WIDTH = 130  # of a table that goes to a file


@dataclass(frozen=True)
class Row:
    """What the gate found of one combination.

    Attributes:
        rows, hostile: Training rows and hostile rows that were compared.
        steps: From a number to the next, over which both change or neither does.
        max_abs: The largest error on training rows.
        flips: Labels that differ, near-ties among them.
        expected: Whether it passed or was refused as it should.
    """

    model: str
    data: str
    rows: int
    hostile: int
    steps: int
    max_abs: float
    flips: int
    passed: bool
    reason: str
    expected: bool
    seconds: float


def measured(combination: Combination) -> Row:
    """Fit, convert and hold one against its original."""
    try:
        made = combination.make()
    except TrainingError as error:
        expected = bool(combination.refused and re.search(combination.refused, str(error)))
        told = (combination.model, combination.data, 0, 0, 0, 0.0, 0, False)
        return Row(*told, f"not written: {error}", expected, 0.0)
    report = check_parity(made.original, made.model, made.rows)
    outputs = [output for each in report.sets if each.binding for output in each.outputs]
    wanted = [reason for reason in report.reasons if re.search(combination.refused, reason)]
    return Row(
        model=combination.model,
        data=combination.data,
        rows=report.sets[0].compared if report.sets else 0,
        hostile=report.rows - (report.sets[0].compared if report.sets else 0),
        steps=sum(each.places for each in report.sets),
        max_abs=max((output.max_abs for output in report.sets[0].outputs), default=0.0),
        flips=sum(output.flips for output in outputs),
        passed=report.passed,
        reason="; ".join(report.reasons),
        expected=report.passed if not combination.refused else bool(wanted),
        seconds=report.seconds,
    )


def table(rows: list[Row]) -> Table:
    shown = Table(title="exports held against their originals by the engine")
    for name in ("model", "data"):
        shown.add_column(name, no_wrap=True)
    for name in ("rows", "hostile rows", "steps", "max abs error", "flips", "gate", "s"):
        shown.add_column(name, justify="right")
    for row in rows:
        verdict = "passed" if row.passed else "refused"
        shown.add_row(
            row.model,
            row.data,
            f"{row.rows:,}",
            f"{row.hostile:,}",
            f"{row.steps:,}",
            f"{row.max_abs:.1e}",
            str(row.flips),
            verdict if row.expected else f"{verdict}, unexpected",
            f"{row.seconds:.1f}",
        )
    return shown


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="part of a combination's name, such as LightGBM")
    parser.add_argument("--json", action="store_true", help="print rows as JSON")
    given = parser.parse_args()
    wanted = [each for each in combinations() if given.only.lower() in str(each).lower()]
    with warnings.catch_warnings(), one_thread():
        warnings.simplefilter("ignore")  # of libraries, on so few rows
        shown = track(wanted, "combinations", console=Console(stderr=True), transient=True)
        rows = [measured(each) for each in shown]
    if given.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
    else:
        console = Console() if sys.stdout.isatty() else Console(width=_WIDTH)
        console.print(table(rows))
        for row in rows:
            if not row.passed:
                first = row.reason.split("; ")[0]
                console.print(f"refused: {row.model} on {row.data}: {first}", markup=False, soft_wrap=True)
        passed, hostile = sum(row.passed for row in rows), sum(row.hostile for row in rows)
        refused = len(rows) - passed
        console.print(
            f"{len(rows)} combinations: {passed} passed, {refused} refused; {hostile:,} hostile rows"
        )
    return 0 if all(row.expected for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())

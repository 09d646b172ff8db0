"""What a measurement is shown as: spreads over rounds, targets that are met or not, tables."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Spread:
    """Median, least and most of a figure over the rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """Sum up at least one value."""
        listed = list(values)
        return cls(statistics.median(listed), min(listed), max(listed))

    def text(self, digits: int = 2) -> str:
        """Return `median (low..high)`, or the one figure."""
        if self.low == self.high:
            return f"{self.median:,.{digits}f}"
        return f"{self.median:,.{digits}f} ({self.low:,.{digits}f}..{self.high:,.{digits}f})"


@dataclass(frozen=True)
class Target:
    """A figure and what it should be. `sense` is what the figure must be to `bound`: "<=", ">=", "<", "="."""

    name: str
    figure: float
    sense: str
    bound: float

    @property
    def met(self) -> bool:
        """Whether the figure is as it should be."""
        compare: dict[str, Callable[[float, float], bool]] = {
            "<=": lambda a, b: a <= b,
            ">=": lambda a, b: a >= b,
            "<": lambda a, b: a < b,
            "=": lambda a, b: a == b,
        }
        return compare[self.sense](self.figure, self.bound)

    def text(self) -> str:
        """Return one line for people."""
        verdict = "met" if self.met else "NOT MET"
        return f"target {self.name} {self.sense} {self.bound:g}: {self.figure:.3f}  {verdict}"


@dataclass
class Section:
    """One part of the report."""

    title: str
    header: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)

    def text(self) -> str:
        """Return it as a table with its notes and targets under it."""
        lines = [f"== {self.title}", *_table([self.header, *self.rows])]
        lines += [f"   {note}" for note in self.notes]
        lines += [f"   {target.text()}" for target in self.targets]
        return "\n".join(lines) + "\n"

    def as_json(self) -> dict[str, Any]:
        """Return it for machines, with the single rounds."""
        targets = [{**asdict(target), "met": target.met} for target in self.targets]
        return {"title": self.title, "targets": targets, "notes": self.notes, "rounds": self.data}


def column(rounds: Sequence[dict[str, Any]], *path: str) -> list[float]:
    """Return the figure at `path` of every round."""
    values = []
    for one in rounds:
        value: Any = one
        for key in path:
            value = value[key]
        values.append(float(value))
    return values


def ratios(above: Sequence[float], below: Sequence[float]) -> Spread:
    """Return the spread of the ratios, round by round."""
    return Spread.of(a / b for a, b in zip(above, below, strict=True))


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]
        lines.append("   " + "  ".join(cells))
    lines.insert(1, "   " + "  ".join("-" * width for width in widths))
    return lines

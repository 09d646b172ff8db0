"""The points that were measured, of one target or several, for people and for programs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from falaj.server.bench.load import Load
from falaj.server.bench.measured import Measured


@dataclass(frozen=True)
class Point:
    """One load on one target."""

    target: str
    url: str
    model: str
    form: str
    load: Load
    measured: Measured

    @property
    def load_text(self) -> str:
        """Return the load for people."""
        if self.load.arrivals == "closed":
            return f"{self.load.concurrency} at a time"
        return f"{self.load.rate:,.10g}/s {self.load.arrivals}"

    @property
    def failed(self) -> int:
        """Return how many requests failed."""
        return sum(self.measured.errors.values())


@dataclass(frozen=True)
class Report:
    """What one run of `falaj bench` found.

    Attributes:
        settings: How it was measured, by name.
        machine: What the load generator ran on, by name.
        problem: What kept loads from being measured; empty where nothing did.
    """

    points: Sequence[Point]
    settings: dict[str, Any]
    machine: dict[str, str]
    problem: str = ""

    @property
    def targets(self) -> list[str]:
        """Return the targets in their order."""
        return list(dict.fromkeys(point.target for point in self.points))

    @property
    def failed(self) -> int:
        """Return how many requests failed in all."""
        return sum(point.failed for point in self.points)

    def of(self, target: str) -> list[Point]:
        """Return the points of one target."""
        return [point for point in self.points if point.target == target]

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        points = [
            {
                "target": point.target,
                "url": point.url,
                "model": point.model,
                "form": point.form,
                "load": asdict(point.load),
                **asdict(point.measured),
            }
            for point in self.points
        ]
        told = {"machine": self.machine, "settings": self.settings, "problem": self.problem}
        return {**told, "points": points}

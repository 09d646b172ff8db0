"""Sequences of requests, for models that keep something from one request to the next."""

from dataclasses import dataclass
from typing import Any

MOST_ID = 2**64 - 1
DEFAULT_LAST_ID = 2**32 - 1  # as perf_analyzer's
DEFAULT_LIVE = 4  # as perf_analyzer's
PARAMETERS = ("sequence_id", "sequence_start", "sequence_end")


@dataclass(frozen=True)
class Sequences:
    """Which sequences requests are of. A sequence has at most one request under way.

    Args:
        length: Requests of a sequence, in the mean.
        variation: Share of `length` that a sequence's may be off, drawn evenly; at least one request is left.
        first_id, last_id: Of 1 to 2^64 - 1; ids are taken in turn, and none that is live.
        live: Sequences under way at a time in an open loop, which take requests in turns. A closed loop has
            as many as requests under way.
    """

    length: int
    variation: float = 0.2
    first_id: int = 1
    last_id: int = DEFAULT_LAST_ID
    live: int = DEFAULT_LIVE

    def lengths(self) -> tuple[int, int]:
        """Return the fewest and the most requests of a sequence."""
        off = round(self.length * self.variation)
        return max(1, self.length - off), self.length + off

    def native(self) -> dict[str, Any]:
        """Return what the core is told: see `LoadRun` of falaj/_core.pyi."""
        least, most = self.lengths()
        ids = self.last_id - self.first_id + 1
        return {
            "live": self.live,
            "least_length": least,
            "most_length": most,
            "first_id": self.first_id,
            "ids": max(0, ids),
        }

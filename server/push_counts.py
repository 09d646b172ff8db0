"""Counts what pushes to views did."""

import threading
from collections import Counter
from dataclasses import dataclass, field

from falaj import _core
from falaj.features.online.push import Pushed
from falaj.server.errors import ConfigError

OFF, INVALID, UNKNOWN_VIEW, BUSY, STORE = "off", "invalid", "unknown_view", "busy", "store"


@dataclass
class ViewPushes:
    """Of one view.

    Attributes:
        rows: That were written.
        unchanged: Entities that stayed as they were.
        total_ns: That the pushes took, from their arrival until they were durable.
        bins: How many took less nanoseconds than this and not less than half of it.
    """

    rows: int = 0
    unchanged: int = 0
    total_ns: int = 0
    bins: Counter[int] = field(default_factory=Counter)


class PushCounts:
    """The counts of one server. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._done: dict[str, ViewPushes] = {}
        self._refused: Counter[tuple[str, str]] = Counter()

    def done(self, view: str, pushed: Pushed, took_ns: int) -> None:
        """Count a push that is durable. `view`: with its version."""
        with self._lock:
            of = self._done.setdefault(view, ViewPushes())
            of.rows += pushed.rows
            of.unchanged += pushed.unchanged
            of.total_ns += took_ns
            of.bins[1 << took_ns.bit_length()] += 1

    def refused(self, view: str, reason: str) -> None:
        """Count a push that was not written. `view`: empty where it is not known that there is one."""
        with self._lock:
            self._refused[view, reason] += 1

    def by_view(self) -> dict[str, ViewPushes]:
        """Return a copy of what was done."""
        with self._lock:
            return {
                view: ViewPushes(of.rows, of.unchanged, of.total_ns, Counter(of.bins))
                for view, of in self._done.items()
            }

    def refusals(self) -> dict[tuple[str, str], int]:
        """Return how many were refused, by view and reason."""
        with self._lock:
            return dict(self._refused)


def reason_of(error: Exception) -> str:
    """Return why a push failed that was begun."""
    if isinstance(error, _core.NotFound):
        return UNKNOWN_VIEW
    is_client = isinstance(error, _core.InvalidInput) and not isinstance(error, ConfigError)
    return INVALID if is_client else STORE

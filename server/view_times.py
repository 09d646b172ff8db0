"""Tells how far an online store has been brought up to its sources, by view, from its cursors."""

import threading
import time
from dataclasses import dataclass

from falaj import _core
from falaj.features.errors import DataError
from falaj.features.online.cursor import cursor_of
from falaj.server.online_features import OnlineFeatures

_SECONDS = 10.0  # between two looks at a store that is elsewhere


@dataclass(frozen=True)
class Times:
    """Of one view, UTC µs.

    Attributes:
        until_us: What had arrived at its source by then is in the store.
        newest_us: When the newest row of all that were read became known; None where there was none.
    """

    until_us: int
    newest_us: int | None


class ViewTimes:
    """Those of the views that are open. Thread-safe.

    Where the store is elsewhere, what is told is what the look before found, and nobody waits.
    """

    def __init__(self, features: OnlineFeatures) -> None:
        self._features = features
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._looked_at = -_SECONDS  # guarded by _lock, as the two below
        self._read: dict[str, bytes] = {}  # cursors as they were, by name@version
        self._times: dict[str, Times] = {}

    def by_view(self) -> dict[str, Times]:
        """Return them by name@version; a view that was never materialised is left out."""
        if not self._features.is_shared:
            self._look()
        elif self._is_due():
            threading.Thread(target=self._look, name="falaj-view-times").start()
        with self._lock:
            return dict(self._times)

    def close(self) -> None:
        """Begin no more looks; one that is under way ends with the view it is at."""
        self._ended.set()

    def _is_due(self) -> bool:
        with self._lock:
            now = time.monotonic()
            if self._ended.is_set() or now - self._looked_at < _SECONDS:
                return False
            self._looked_at = now
            return True

    def _look(self) -> None:
        for name, view in self._features.opened().items():
            if self._ended.is_set():
                return
            try:
                told = view.cursor() or b""
                with self._lock:
                    if told == self._read.get(name):
                        continue
                read = cursor_of(told or None).read
            except (_core.Error, DataError):
                continue  # what was told before stands
            with self._lock:
                self._read[name] = told
                self._times.pop(name, None)  # of a view that was made anew
                if read.until_us is not None:
                    self._times[name] = Times(read.until_us, read.newest_us)

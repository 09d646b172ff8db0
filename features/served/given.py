"""What a view's store had been given at the times of look-ups, told from readings of its cursor."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from falaj._core import Error, OnlineView
from falaj.features.errors import DataError
from falaj.features.online.cursor import cursor_of

NOTHING = -(1 << 62)  # the store had been given nothing
UNKNOWN = -(1 << 63)  # its cursor could not be read
_MOST = 256  # states that are remembered; look-ups are minutes old at most when they are logged


@dataclass
class _State:
    """What was read several times in a row: all that had arrived by `done` (UTC µs) was in the store for
    certain, and all by `begun` may have been."""

    done: int
    begun: int
    first_us: int  # the first of the readings had ended
    last_us: int  # the last of them began


class Given:
    """Readings of one store's cursor for one view. Not thread-safe."""

    def __init__(self) -> None:
        self._states: list[_State] = []

    def look(self, view: OnlineView) -> None:
        """Read once more."""
        begin = time.time_ns() // 1000
        try:
            cursor = cursor_of(view.cursor())
        except (Error, DataError):
            self.add(UNKNOWN, UNKNOWN, begin, time.time_ns() // 1000)
            return
        done = NOTHING if cursor.read.until_us is None else cursor.read.until_us
        going = cursor.going
        begun = done if going is None or going.read.until_us is None else going.read.until_us
        self.add(done, begun, begin, time.time_ns() // 1000)

    def add(self, done: int, begun: int, begin_us: int, end_us: int) -> None:
        """Add a reading that took from `begin_us` to `end_us`, after all that were added before."""
        if self._states and (self._states[-1].done, self._states[-1].begun) == (done, begun):
            self._states[-1].last_us = begin_us
            return
        self._states.append(_State(done, begun, end_us, begin_us))
        del self._states[:-_MOST]

    def at(self, times: Any) -> tuple[Any, Any]:
        """Return for times of look-ups (UTC µs) what the store had been given at least, and at most.

        UNKNOWN where no reading was before, or none came after.
        """
        done = np.array([UNKNOWN] + [state.done for state in self._states], np.int64)
        begun = np.array([state.begun for state in self._states] + [UNKNOWN], np.int64)
        before = np.searchsorted([state.first_us for state in self._states], times, side="right")
        after = np.searchsorted([state.last_us for state in self._states], times, side="left")
        return done[before], begun[after]

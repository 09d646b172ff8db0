"""Histories and times of tests, put to online stores, which a URL names."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from falaj._core import OnlineStore, OnlineView
from falaj.features.online.store import open_store, open_view
from tests.features.offline.duckdb_engine import view_of
from tests.features.oracle import EXPIRED, MISSING, PRESENT, Answer, Row, Rules

MAP_BYTES = 64 << 20
_STATUS = {0: MISSING, 1: EXPIRED, 2: PRESENT}


def opened(url: str) -> OnlineStore:
    """Open a store, with little room where it asks for some."""
    return open_store(url, MAP_BYTES)


def view_in(url: str, rules: Rules, name: str = "profile") -> OnlineView:
    """Return a view by these rules, as it is."""
    return open_view(opened(url), view_of(rules, name))


def fresh_view(url: str, rules: Rules, name: str = "profile") -> OnlineView:
    """Return an empty view by these rules."""
    store = opened(url)
    if (name, 1) in store.views():
        store.drop_view(name, 1)
    return open_view(store, view_of(rules, name))


def write(view: OnlineView, rows: Sequence[Row], now: int, cursor: bytes | None = None) -> int:
    """Write rows; those without a key are nobody's."""
    rows = [row for row in rows if row.key is not None]
    return view.write(
        [np.array([row.key for row in rows], np.int64)],
        np.array([row.event for row in rows], np.int64),
        np.array([row.known for row in rows], np.int64),
        np.array([row.sequence for row in rows], np.int64),
        np.array([row.deleted for row in rows], bool),
        [np.array([row.value or 0.0 for row in rows], np.float64)],
        [np.array([row.value is None for row in rows], bool)],
        now,
        cursor,
    )


def read(view: OnlineView, keys: Sequence[int], now: int) -> list[Answer]:
    """Return what the store has for some keys."""
    status, (values,), (nulls,) = view.read([np.array(keys, np.int64)], now)
    return [
        (_STATUS[of], None if null else value)
        for of, value, null in zip(status.tolist(), values.tolist(), nulls.tolist(), strict=True)
    ]


def known(history: Sequence[Row], rules: Rules) -> list[Row]:
    """Return what had arrived by the time of the question."""
    until = rules.known_until
    return [row for row in history if until is None or row.known <= until]


def texts(*given: str | None) -> npt.NDArray[Any]:
    """Return BYTES."""
    return np.array(given, dtype=object)


def times(count: int) -> list[npt.NDArray[Any]]:
    """Return event, known, sequence and deleted of so many rows, all zero."""
    zeros = np.zeros(count, np.int64)
    return [zeros, zeros, zeros, np.zeros(count, bool)]

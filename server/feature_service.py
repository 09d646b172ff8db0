"""What clients read of feature views, and write to them, besides inference."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from falaj import _core
from falaj.features.errors import UnknownView
from falaj.features.identity import view_of
from falaj.features.online.lookup import Keys, look_up, told
from falaj.features.online.push import Pushed, push
from falaj.features.online.store import open_view
from falaj.features.registry import Registered, Registry
from falaj.features.view import View
from falaj.server.online_features import OnlineFeatures
from falaj.server.push_counts import BUSY, INVALID, PushCounts, reason_of
from falaj.server.view_times import ViewTimes

MOST_ROWS = 10_000  # of a request
MOST_VALUES = 200_000  # of an answer, rows times columns: it is written on the event loop
_MOST_VIEWS = 64
# Rows times views that are read on the event loop, in less than a millisecond.
_MOST_AT_ONCE = 256
_LONGEST_QUEUE = 64  # of pushes that wait for the writer
_MOST_WAITING = 100_000  # of their rows
_Opened = tuple[View, _core.OnlineView]


class FeatureService:
    """Views of the registry in the store that models use. Used from one event loop.

    A version of a view is read from the registry once, it never changes; which is the latest, each time.

    Args:
        features: The store.
        data_dir: Where the registry is.
        may_push: Whether requests may write.

    Attributes:
        pushes: What those of requests did.
        times: How far the views are.
    """

    def __init__(self, features: OnlineFeatures, data_dir: Path, *, may_push: bool = True) -> None:
        self.may_push = may_push
        self.pushes = PushCounts()
        self.times = ViewTimes(features)
        self._features = features
        self._registry = Registry(data_dir / "features.db")
        self._lock = threading.Lock()
        self._opened: dict[str, _Opened] = {}  # by name@version; guarded by _lock
        self._waiting: list[int] = []  # rows of each push that is not done; guarded by _lock
        self._writer = ThreadPoolExecutor(1, "falaj-push")  # a store takes one writer at a time

    async def get(self, references: Sequence[str], keys: Keys) -> dict[str, Any]:
        """Return what views have for entities now, as falaj.features.online.lookup.told tells it.

        Args:
            references: Views, as VIEW or VIEW@VERSION.
            keys: The values of each key column, as many of each.

        Raises:
            InvalidInput: There are too many, or a key does not fit.
            NotFound: A view is not registered.
            Unavailable, DeadlineExceeded: The store cannot be reached.
        """
        if not 1 <= len(references) <= _MOST_VIEWS:
            raise _core.InvalidInput(f"views: expected 1 to {_MOST_VIEWS}, got {len(references)}")
        rows = max((len(values) for values in keys.values()), default=0)
        check_rows(rows)
        opened = [self._known(reference) for reference in references]
        is_quick = rows * len(references) <= _MOST_AT_ONCE and not self._features.is_shared
        known = [each for each in opened if each is not None]
        if is_quick and len(known) == len(opened):
            return _read(known, keys, rows)
        return await asyncio.to_thread(self._get, references, keys, rows)

    async def push(
        self, reference: str, rows: Sequence[Mapping[str, object]], *, as_of_us: int | None = None
    ) -> dict[str, Any]:
        """Write rows to a view, all or none, and return what was written when it is durable. A caller that
        leaves stops only what has not begun.

        Args:
            reference: The view, as VIEW or VIEW@VERSION.
            rows, as_of_us: See falaj.features.online.push.push.

        Raises:
            InvalidInput: There are too many, one does not fit the view, or they may not say a time; nothing
                was written.
            NotFound: The view is not registered.
            Unavailable, DeadlineExceeded: Too many wait, or the store cannot be reached.
        """
        begin = time.monotonic_ns()
        count = len(rows)
        try:
            check_rows(count)
            if as_of_us is not None and not self._features.as_of:
                raise _core.InvalidInput("features_as_of: is not taken here: features.as_of is false")
            self._admit(count)
        except _core.Error as error:
            self.pushes.refused("", INVALID if isinstance(error, _core.InvalidInput) else BUSY)
            raise
        future = self._writer.submit(self._push, reference, rows, begin, as_of_us)
        future.add_done_callback(lambda _done: self._pushed(count))
        view, pushed = await asyncio.wrap_future(future)
        return {"view": f"{view.name}@{view.version}", "rows": pushed.rows, "entities": pushed.entities}

    def close(self) -> None:
        """Begin no more pushes, and no more looks at how far views are."""
        self.times.close()
        self._writer.shutdown(wait=False, cancel_futures=True)

    def _admit(self, rows: int) -> None:
        """Count a push among those that wait. Raises Unavailable where they are too many."""
        with self._lock:
            if len(self._waiting) >= _LONGEST_QUEUE or sum(self._waiting) + rows > _MOST_WAITING:
                raise _core.Unavailable("too many pushes are waiting; try again later")
            self._waiting.append(rows)

    def _push(
        self,
        reference: str,
        rows: Sequence[Mapping[str, object]],
        begin_ns: int,
        as_of_us: int | None,
    ) -> tuple[View, Pushed]:
        name = ""
        try:
            view, _ = self._open(reference)
            name = f"{view.name}@{view.version}"
            pushed = push(self._features.store(), view, rows, as_of_us=as_of_us)
        except Exception as error:
            self.pushes.refused(name, reason_of(error))
            raise
        self.pushes.done(name, pushed, time.monotonic_ns() - begin_ns)
        return view, pushed

    def _pushed(self, rows: int) -> None:
        with self._lock:
            self._waiting.remove(rows)

    def _get(self, references: Sequence[str], keys: Keys, rows: int) -> dict[str, Any]:
        return _read([self._open(each) for each in references], keys, rows)

    def _known(self, reference: str) -> _Opened | None:
        with self._lock:
            return self._opened.get(reference)

    def _open(self, reference: str) -> _Opened:
        """Return a view and where it is. Blocks. Raises NotFound where it is not registered."""
        known = self._known(reference)
        if known is not None:
            return known
        found = self._registered(reference)
        name = f"{found.name}@{found.version}"
        known = self._known(name)
        if known is None:
            view = view_of(found.meaning)
            known = view, open_view(self._features.store(), view)
            self._features.note(*known)
            with self._lock:
                self._opened[name] = known
        return known

    def _registered(self, reference: str) -> Registered:
        try:
            return self._registry.named(reference)
        except UnknownView as error:
            raise _core.NotFound(str(error)) from error
        except (sqlite3.Error, OSError) as error:
            raise _core.Unavailable(f"the registry of views cannot be read: {error}") from error


def _read(opened: Sequence[_Opened], keys: Keys, rows: int) -> dict[str, Any]:
    values = rows * sum(len(view.features) for view, _ in opened)
    if values > MOST_VALUES:
        raise _core.InvalidInput(
            f"expected at most {MOST_VALUES} values in an answer, rows times columns of the views, "
            f"got {values}"
        )
    return told(look_up(opened, keys))


def check_rows(rows: int) -> None:
    """Raise InvalidInput where a request has too many."""
    if rows > MOST_ROWS:
        raise _core.InvalidInput(f"expected at most {MOST_ROWS} rows in a request, got {rows}")

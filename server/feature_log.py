"""Writes what models were served with: what the core keeps of a share of the requests becomes files."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from falaj import _core
from falaj.features.binding import Binding
from falaj.features.errors import DataError
from falaj.features.served.given import Given
from falaj.features.served.log import LogWriter, served_of
from falaj.features.served.retention import Kept, keep_within

_log = logging.getLogger("falaj.feature_log")

# Between two looks; what is logged in the meantime waits in the core's bounded buffers.
_SECONDS = 1.0
_SWEEP_SECONDS = 60.0  # between two looks for old files, but for that after each file
Version = tuple[str, int]  # a model's name, and the number


@dataclass(eq=False)
class _Followed:
    """A model version that is logged, from its loading until it is unloaded and all is written."""

    version: Version
    log: _core.ServedLog
    writer: LogWriter
    views: Sequence[_core.OnlineView]
    given: Sequence[Given]  # by view

    def look(self) -> None:
        """Read what the stores have been given by now."""
        for view, given in zip(self.views, self.given, strict=True):
            given.look(view)


class FeatureLog:
    """The log of one server. Thread-safe.

    Args:
        folder: Gets a folder for each model.
        sample: The share of requests, 0 to 1.
        buffer_bytes: That wait to be written, of each model version; what is more is dropped and counted.
        max_bytes: Of the files together, and
        max_seconds: since one was written; beyond, the oldest are removed. None: for ever.
    """

    def __init__(
        self,
        folder: Path,
        sample: float,
        buffer_bytes: int,
        *,
        max_bytes: int = 10 << 30,
        max_seconds: float | None = None,
    ) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds
        self._per_million = round(sample * 1_000_000)
        self._buffer_bytes = buffer_bytes
        self._looking = threading.Lock()  # of `_look`, which may wait for stores; taken before _lock
        self._swept_at = -_SWEEP_SECONDS  # guarded by _looking
        self._lock = threading.Lock()  # of the four below
        self._kept = Kept()  # `removed` since the start
        self._followed: list[_Followed] = []
        self._written: Counter[Version] = Counter()
        self._dropped: Counter[Version] = Counter()  # but for what the buffers of those followed dropped
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="falaj-feature-log", daemon=True)
        self._thread.start()

    def new_buffer(self) -> _core.ServedLog:
        """Return what a backend is to log into; then `follow` it."""
        return _core.ServedLog(self._buffer_bytes, self._per_million)

    def follow(
        self,
        log: _core.ServedLog,
        model: str,
        version: int,
        binding: Binding,
        views: Sequence[_core.OnlineView],
    ) -> None:
        """Write what comes into a buffer for as long as a backend has it. `views`: those of the binding."""
        writer = LogWriter(self._folder / model, served_of(model, version, binding))
        followed = _Followed((model, version), log, writer, views, [Given() for _ in views])
        followed.look()
        with self._lock:
            self._written[model, version] += 0
            self._followed.append(followed)

    def counts(self) -> dict[Version, tuple[int, int]]:
        """Return, of each model version there is or was, the rows that were written and those dropped."""
        with self._lock:
            dropped = Counter(self._dropped)
            for each in self._followed:
                dropped[each.version] += each.log.dropped
            return {version: (rows, dropped[version]) for version, rows in self._written.items()}

    def kept(self) -> Kept:
        """Return what there is of the log, and what has been removed since the start."""
        with self._lock:
            return self._kept

    def close(self) -> None:
        """Write what is left. Idempotent; to be called when nothing is served any more."""
        self._ended.set()
        self._thread.join()
        self._look(end=True)

    def _run(self) -> None:
        while not self._ended.wait(_SECONDS):
            self._look(end=False)

    def _look(self, *, end: bool) -> None:
        with self._looking:
            with self._lock:
                followed = list(self._followed)
            for each in followed:
                in_use = each.log.in_use and not end  # looked at before the last rows are taken
                try:
                    self._take(each, write=not in_use)
                except (OSError, duckdb.Error, DataError, _core.Error) as error:
                    _log.error("rows of the log of served features were lost: %s", error)
                if not in_use:
                    self._forget(each)
            if time.monotonic() - self._swept_at >= _SWEEP_SECONDS:
                self._sweep()

    def _sweep(self) -> None:
        self._swept_at = time.monotonic()
        try:
            now = keep_within(self._folder, self._max_bytes, self._max_seconds)
        except OSError as error:
            _log.error("old files of the log of served features were not removed: %s", error)
            return
        if now.removed:
            told = {"files": now.removed, "bytes": now.removed_bytes}
            _log.info("old files of the log of served features were removed", extra=told)
        with self._lock:
            before = self._kept
            self._kept = replace(
                now,
                removed=before.removed + now.removed,
                removed_bytes=before.removed_bytes + now.removed_bytes,
            )

    def _forget(self, each: _Followed) -> None:
        with self._lock:
            self._followed.remove(each)
            self._dropped[each.version] += each.log.dropped
        each.writer.close()

    def _take(self, each: _Followed, *, write: bool) -> None:
        arrays = each.log.take()
        each.look()
        writer = each.writer
        at_stake = writer.waiting + (0 if arrays is None else len(arrays[0]))
        written = 0
        try:
            if arrays is not None:
                writer.add(arrays, each.given)
            if write or writer.is_due:
                written = writer.write()
                if written:
                    self._swept_at = -_SWEEP_SECONDS  # there is more now
        finally:
            with self._lock:
                self._written[each.version] += written
                self._dropped[each.version] += at_stake - writer.waiting - written

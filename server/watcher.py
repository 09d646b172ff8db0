"""Follows the repository's folder: what is copied in, changed or removed there is loaded or unloaded."""

import logging
import threading
from pathlib import Path

from falaj import _core
from falaj.server.folder import Fingerprint, fingerprint, model_names
from falaj.server.repository import Repository

_log = logging.getLogger("falaj.watcher")


class Watcher:
    """A thread that looks every `interval` seconds.

    A model is touched only when two looks in a row saw the same files, so a version that is still being
    copied is left alone; one that settles and cannot be loaded is tried again when its files change.
    """

    def __init__(self, repository: Repository, interval: float) -> None:
        self._repository = repository
        self._interval = interval
        self._stop = threading.Event()
        self._seen: dict[str, Fingerprint] = {}
        self._applied: dict[str, Fingerprint] = self._look() or {}
        self._thread = threading.Thread(target=self._run, name="falaj-watcher", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the thread; returns when it has ended."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            try:
                self._step()
            except Exception:
                _log.exception("looking at the repository failed")

    def _look(self) -> dict[str, Fingerprint] | None:
        root: Path = self._repository.root
        try:
            return {name: fingerprint(root / name) for name in model_names(root)}
        except (OSError, _core.NotFound):
            return None  # the folder itself is away (a mount, say): that says nothing about its models

    def _step(self) -> None:
        now = self._look()
        if now is None:
            return
        for name, seen in now.items():
            if self._applied.get(name) == seen or self._seen.get(name) != seen:
                continue
            self._applied[name] = seen
            try:
                self._repository.load(name)
                _log.info("model '%s' was brought in line with its folder", name)
            except _core.Error as error:
                _log.warning("model '%s' was not loaded: %s", name, error)
        for name in [n for n in self._applied if n not in now and n not in self._seen]:
            del self._applied[name]
            try:
                self._repository.unload(name)
                _log.info("model '%s' was unloaded: its folder is gone", name)
            except _core.NotFound:
                continue  # it was never loaded
        self._seen = now

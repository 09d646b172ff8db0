"""Whether the server, and each model, should be asked at this moment."""

import threading
import time
from collections.abc import Callable

from falaj import _core
from falaj.server.engine import Engine

# Seconds for which it is not asked again what is stuck: that walks over every version, and probes are many.
_KEEP = 0.25
_DRAINING = "the server is being stopped"


class Readiness:
    """Thread-safe.

    The server is ready unless it is being stopped, or models are known and none of them answers: one that
    cannot be loaded, or hangs, is no reason to take the others away from their callers. A model answers when
    the version asked for is in service and none of its batches has been running for too long.

    Args:
        engine: whose models.
        is_draining: true once the server was told to end.
        stuck_after: seconds in one batch that are too long.
    """

    def __init__(self, engine: Engine, is_draining: Callable[[], bool], stuck_after: float) -> None:
        self._engine = engine
        self._is_draining = is_draining
        self._stuck_after = stuck_after
        self._lock = threading.Lock()
        self._stuck: dict[tuple[str, int], float] = {}
        self._looked = float("-inf")  # of the monotonic clock

    def why_server_is_not(self) -> str | None:
        """Why requests had better go elsewhere; None: the server is ready."""
        if self._is_draining():
            return _DRAINING
        try:
            rows = self._engine.models()
        except _core.Unavailable as error:
            return str(error)
        serving = [(row["name"], row["version"]) for row in rows if row["state"] == "READY"]
        if rows and not serving:
            reasons = "; ".join(f"'{row['name']}': {row['reason']}" for row in rows)
            return f"no model is in service: {reasons}"
        stuck = self._look()
        if serving and all(version in stuck for version in serving):
            return "; ".join(self._why_stuck(*version) for version in serving)
        return None

    def why_model_is_not(self, name: str, version: int) -> str | None:
        """Why a version in service should not be asked; None: it should."""
        if self._is_draining():
            return _DRAINING
        return self._why_stuck(name, version) if (name, version) in self._look() else None

    def _why_stuck(self, name: str, version: int) -> str:
        seconds = self._stuck.get((name, version), self._stuck_after)
        return f"model '{name}' version {version} has been running one batch for {seconds:.0f} s"

    def _look(self) -> dict[tuple[str, int], float]:
        with self._lock:
            now = time.monotonic()
            if now - self._looked >= _KEEP:
                self._stuck = self._engine.stuck(self._stuck_after)
                self._looked = now
            return self._stuck

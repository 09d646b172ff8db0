"""What SIGHUP changes of a running server, and what has to wait for its next start."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from falaj import _core
from falaj.server.engine import Engine
from falaj.server.folder import model_names
from falaj.server.ops.layers import keys_of
from falaj.server.ops.logs import Logs
from falaj.server.ops.settings import Settings

_log = logging.getLogger("falaj.reload")

# Keys that take effect when they are read again. So do the files that [tls] names, under the same names.
RELOADABLE = frozenset(
    {
        "server.load",
        "server.drain_seconds",
        "server.shutdown_timeout",
        "log.level",
        "log.format",
        "log.file",
        "log.access_log_sample",
        "log.verbose",
    }
)


class Reloader:
    """Takes over changed settings when asked. Used on the event loop's thread only."""

    def __init__(
        self,
        settings: Settings,
        reread: Callable[[], Settings],
        logs: Logs,
        wire: _core.WireServer,
        engine: Engine,
    ) -> None:
        self._settings = settings
        self._reread = reread
        self._logs = logs
        self._wire = wire
        self._engine = engine
        self._task: asyncio.Task[None] | None = None
        self._asked = False

    @property
    def settings(self) -> Settings:
        """What holds at the moment."""
        return self._settings

    def ask(self) -> None:
        """Read the settings again soon; once more where that is under way already."""
        self._asked = True
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            while self._asked:
                self._asked = False
                try:
                    self._take_over()
                except _core.Error as error:
                    _log.error("nothing was changed: %s", error)
                    continue
                server = self._settings.server
                await asyncio.to_thread(rescan, self._engine, Path(server.repository), server.load)
                _log.info("the settings and the model repository were read again")
        finally:
            self._task = None

    def _take_over(self) -> None:
        settings, fixed = merged(self._settings, self._reread())
        self._logs.apply(settings.log)
        try:
            self._wire.reload_tls()
        except _core.Error:
            self._logs.apply(self._settings.log)
            raise
        self._settings = settings
        if fixed:
            _log.warning("these settings are taken over at the next start: %s", ", ".join(fixed))


def merged(running: Settings, read: Settings) -> tuple[Settings, list[str]]:
    """Return the running settings with what can be changed taken over, and the keys that cannot be."""
    tables: dict[str, Any] = {}
    for name in running.__struct_fields__:
        own, new = getattr(running, name), getattr(read, name)
        keys = {key.partition(".")[2] for key in RELOADABLE if key.startswith(f"{name}.")}
        tables[name] = msgspec.structs.replace(own, **{key: getattr(new, key) for key in keys})
    differ = [key for key, _ in keys_of(Settings) if _get(running, key) != _get(read, key)]
    return Settings(**tables), [key for key in differ if key not in RELOADABLE]


def rescan(engine: Engine, root: Path, load: Sequence[str]) -> None:
    """Bring the served models in line with the folder, as a start would: load what is new or changed among
    those that `load` names ("*": all), unload what is gone. What fails is logged, and what serves stays."""
    try:
        there = model_names(root)
    except (_core.NotFound, OSError) as error:
        _log.error("the model repository was not looked at: %s", error)
        return
    loaded = {row["name"] for row in engine.models()}
    for name in sorted(loaded - set(there)):
        try:
            engine.unload(name)
            _log.info("model '%s' was unloaded: its folder is gone", name)
        except _core.NotFound:
            continue  # somebody else did
    for name in there:
        if name in loaded or name in load or "*" in load:
            try:
                engine.load(name)
            except _core.Error as error:
                _log.warning("model '%s' was not loaded: %s", name, error)


def _get(settings: Settings, key: str) -> Any:
    value: Any = settings
    for part in key.split("."):
        value = getattr(value, part, None)
    return value

"""What a running server takes over when told to read its settings again, and what it does not."""

import asyncio
import json
import logging
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import falaj
from falaj import _core
from falaj.server.errors import ConfigError
from falaj.server.ops.limits import Grpc
from falaj.server.ops.logs import Logs, configure
from falaj.server.ops.reload import RELOADABLE, Reloader, merged, rescan
from falaj.server.ops.settings import Log, Server, Settings
from tests.serving import add_python, x_of

pytestmark = pytest.mark.core


def _served(engine: falaj.Engine) -> dict[str, int]:
    return {row["name"]: row["version"] for row in engine.models() if row["state"] == "READY"}


def test_merged_takes_over_what_can_change_when_everything_differs() -> None:
    running = Settings()
    read = Settings(
        server=Server(http_port=1, drain_seconds=1, shutdown_timeout=2, load=("a",), stuck_after=9),
        grpc=Grpc(idle_timeout_seconds=9),
        log=Log("error", "json", "x", 0.5, 3),
    )
    settings, fixed = merged(running, read)
    assert fixed == ["server.http_port", "server.stuck_after", "grpc.idle_timeout_seconds"]
    assert settings.log == read.log
    assert (settings.server.drain_seconds, settings.server.shutdown_timeout) == (1, 2)
    assert settings.server.load == ("a",)
    assert (settings.server.http_port, settings.grpc) == (8000, running.grpc)


def test_merged_names_nothing_when_nothing_differs() -> None:
    assert merged(Settings(), Settings()) == (Settings(), [])
    assert len(RELOADABLE) > 0


def test_rescan_brings_models_in_line_when_the_folder_changed(tmp_path: Path) -> None:
    for name in ("kept", "grows", "goes"):
        add_python(tmp_path, name)
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine:
        kept = engine.describe("kept")
        add_python(tmp_path, "grows", version=2)
        add_python(tmp_path, "new")
        add_python(tmp_path, "bad", head="max_batch = 1")
        shutil.rmtree(tmp_path / "goes")
        rescan(engine, tmp_path, ("*",))
        assert _served(engine) == {"kept": 1, "grows": 2, "new": 1}
        assert engine.describe("kept") == kept
        assert engine.stats("kept")[0]["inference_count"] == 0


def test_rescan_loads_only_what_is_named_or_served_when_some_are_named(tmp_path: Path) -> None:
    add_python(tmp_path, "served")
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine:
        for name in ("named", "other"):
            add_python(tmp_path, name)
        add_python(tmp_path, "served", version=2)
        rescan(engine, tmp_path, ("named",))
        assert _served(engine) == {"served": 2, "named": 1}


def test_rescan_leaves_everything_when_the_folder_is_away(tmp_path: Path) -> None:
    root = tmp_path / "models"
    add_python(root, "m")
    with falaj.Engine(root, cores=1, strict=True) as engine:
        root.rename(tmp_path / "elsewhere")
        rescan(engine, root, ("*",))
        assert _served(engine) == {"m": 1}
        assert engine.infer("m", x_of(3))["y"].item() == 3


@dataclass
class Running:
    """The parts of a server that a reload touches."""

    root: Path
    engine: falaj.Engine
    wire: _core.WireServer
    logs: Logs
    read: list[Callable[[], Settings]] = field(default_factory=list)

    def said(self) -> list[str]:
        lines = (self.root / "log").read_text(encoding="utf-8").splitlines()
        return [json.loads(line)["msg"] for line in lines]

    def settings(self, **server: object) -> Settings:
        log = Log("info", "json", str(self.root / "log"))
        return Settings(server=Server(repository=str(self.root / "models"), **server), log=log)  # type: ignore[arg-type]

    def reload(self, *read: Callable[[], Settings]) -> Settings:
        """Ask once for each reading, and wait until all were done."""
        answers = list(read)

        async def live() -> Settings:
            running = self.settings()
            reloader = Reloader(running, lambda: answers.pop(0)(), self.logs, self.wire, self.engine)
            while answers:
                reloader.ask()
                [under_way] = asyncio.all_tasks() - {asyncio.current_task()}
                await under_way
            return reloader.settings

        return asyncio.run(live())


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    add_python(tmp_path / "models", "m")
    logs = configure(Log("info", "json", str(tmp_path / "log")))
    with falaj.Engine(tmp_path / "models", cores=1, strict=True) as engine:
        wire = _core.WireServer(engine.runtime, {})
        yield Running(tmp_path, engine, wire, logs)
        wire.close()
    logs.close()


def test_reload_takes_over_settings_and_models_when_they_changed(running: Running) -> None:
    add_python(running.root / "models", "new")
    settings = running.reload(lambda: running.settings(drain_seconds=77, http_port=1))
    assert (settings.server.drain_seconds, settings.server.http_port) == (77, 8000)
    assert _served(running.engine) == {"m": 1, "new": 1}
    assert "these settings are taken over at the next start: server.http_port" in running.said()


def test_reload_changes_nothing_when_the_file_is_wrong(running: Running) -> None:
    def fail() -> Settings:
        raise ConfigError("expected better", key="server.host", source="falaj.toml:3")

    add_python(running.root / "models", "new")
    assert running.reload(fail) == running.settings()
    assert _served(running.engine) == {"m": 1}
    assert running.said() == ["nothing was changed: falaj.toml:3: server.host: expected better"]


def test_reload_changes_nothing_when_the_log_cannot_be_opened(running: Running) -> None:
    def read() -> Settings:
        return Settings(server=Server(drain_seconds=77), log=Log(file=str(running.root / "no" / "folder")))

    assert running.reload(read) == running.settings()
    logging.getLogger("falaj").info("still here")
    first, second = running.said()
    assert first.startswith("nothing was changed: log.file: cannot be opened")
    assert second == "still here"


def test_reload_works_again_when_one_before_failed(running: Running) -> None:
    def fail() -> Settings:
        raise ConfigError("expected better")

    settings = running.reload(fail, lambda: running.settings(drain_seconds=7))
    assert settings.server.drain_seconds == 7

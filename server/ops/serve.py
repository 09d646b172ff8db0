"""The life of the server's process, from its settings to its exit."""

import asyncio
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from falaj import _core
from falaj.server.api.app import make_admin_app, make_app
from falaj.server.api.control_plane import ControlPlane
from falaj.server.bridge import Bridge
from falaj.server.engine import Engine
from falaj.server.errors import ConfigError
from falaj.server.feature_service import FeatureService
from falaj.server.grpc.methods import GrpcMethods
from falaj.server.online_features import OnlineFeatures
from falaj.server.ops.listeners import open_listeners
from falaj.server.ops.logs import Logs, configure
from falaj.server.ops.reload import Reloader
from falaj.server.ops.settings import Settings
from falaj.server.ops.signals import Signals, ending_by_signal

if TYPE_CHECKING:
    from falaj.server.feature_log import FeatureLog
    from falaj.server.ops.metrics import MetricsCollector
    from falaj.server.tracing.exporter import Outlet
    from falaj.server.tracing.service import TraceService

_log = logging.getLogger("falaj.serve")

# Seconds between looks at whether the last requests have been answered.
_LOOK = 0.01
# What closing is given at least, whatever was left of shutdown_timeout.
_CLOSE_SECONDS = 5.0
_DAY = 86_400.0
# An I/O thread and an executor are at work at the same time, whatever the cores.
_LEAST_ARENAS = 2


def serve(settings: Settings, reread: Callable[[], Settings]) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status.

    Args:
        settings: What to serve, and how.
        reread: Reads the settings again, for SIGHUP. Raises ConfigError.

    Raises:
        Error: the repository is no folder, a model fails to load (strict), an address is in use, and the
            like: what keeps a server from starting.
    """
    logs = configure(settings.log)
    _bound_allocator(settings.server.cores or _core.usable_cores())
    try:
        with ending_by_signal() as check_signals, ExitStack() as opened:
            outlet = _open_outlet(settings)
            feature_log = _open_feature_log(settings)
            if feature_log is not None:
                opened.callback(feature_log.close)
            engine = _load(settings, feature_log)
            opened.callback(engine.close)
            check_signals()
            traces = _start_tracing(settings, engine, outlet)
            if traces is not None:
                opened.callback(traces.close)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_serve(settings, reread, logs, engine, feature_log, traces))
    finally:
        logs.close()
    return 0


def _bound_allocator(cores: int) -> None:
    """See core/allocator.h. Where the operator has told the allocator anything, that stands."""
    by_operator = any(name.startswith("MALLOC_") for name in os.environ)
    if not by_operator and "glibc.malloc" not in os.environ.get("GLIBC_TUNABLES", ""):
        _core.bound_allocator(max(_LEAST_ARENAS, cores))


def _open_feature_log(settings: Settings) -> "FeatureLog | None":
    """The log of served features; None where none is wanted, which then costs nothing."""
    features = settings.features
    if features.log_sample == 0:
        return None
    if find_spec("duckdb") is None:
        raise ConfigError(
            "no package duckdb, which writes it: pip install 'falaj[features]'", key="features.log_sample"
        )
    from falaj.server.feature_log import FeatureLog

    return FeatureLog(
        settings.features_dir() / "log",
        features.log_sample,
        features.log_buffer_bytes,
        max_bytes=features.log_max_bytes,
        max_seconds=None if features.log_max_days is None else features.log_max_days * _DAY,
    )


def _open_outlet(settings: Settings) -> "Outlet | None":
    """The way out for spans; None where requests are not traced, and nothing is imported for it then."""
    if not settings.tracing.enabled:
        return None
    from falaj.server.tracing.exporter import open_outlet

    return open_outlet(settings.tracing)


def _start_tracing(settings: Settings, engine: Engine, outlet: "Outlet | None") -> "TraceService | None":
    if outlet is None:
        return None
    from falaj.server.tracing.service import TraceService

    return TraceService(engine.runtime, settings.tracing, outlet)


def _load(settings: Settings, feature_log: "FeatureLog | None") -> Engine:
    server = settings.server
    begin = time.monotonic()
    engine = Engine(
        server.repository,
        cores=server.cores,
        watch=server.watch_seconds,
        models=None if server.load == ("*",) else server.load,
        features=OnlineFeatures(settings.online_store(), feature_log, as_of=settings.features.as_of),
        strict=server.strict,
    )
    ready = sum(row["state"] == "READY" for row in engine.models())
    seconds = round(time.monotonic() - begin, 3)
    _log.info("model versions are loaded", extra={"ready": ready, "seconds": seconds})
    return engine


async def _serve(
    settings: Settings,
    reread: Callable[[], Settings],
    logs: Logs,
    engine: Engine,
    feature_log: "FeatureLog | None",
    traces: "TraceService | None",
) -> None:
    """Listen, say so, and serve until told to end; return when everything is closed."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_log_loop_error)
    shared_memory = settings.shared_memory.open()
    wire = _core.WireServer(engine.runtime, settings.wire_options() | {"shared_memory": shared_memory})
    draining = asyncio.Event()
    features = FeatureService(
        engine.features, Path(settings.server.data_dir), may_push=settings.features.push
    )
    control = ControlPlane(
        engine,
        triton_compat=settings.server.compat == "triton",
        logs=logs.settings,
        traces=None if traces is None else traces.settings,
        is_draining=draining.is_set,
        stuck_after=settings.server.stuck_after,
        may_change=settings.server.model_control == "explicit",
        features=features,
        shared_memory=shared_memory,
    )
    app = make_app(control, None)  # infer is answered natively
    admin = make_admin_app(control, _metrics_page(engine, wire, settings, features, feature_log, traces))
    bridge = Bridge(wire, app, admin, GrpcMethods(control), logs.access)
    reloader = Reloader(settings, reread, logs, wire, engine)
    try:
        opened = open_listeners(wire, settings)
        if traces is not None:
            http, grpc = (int(opened.get(name, 0)) for name in ("http", "grpc"))
            traces.describe(settings.server.host, http, grpc)
        signals = Signals(loop, reloader.ask)
        bridge.attach(loop)
        wire.start()
        _tell_ready(opened)
        await signals.asked(1)
        draining.set()
        until = await _drain(wire, signals, reloader)
        await bridge.close()
        features.close()
    except BaseException:
        wire.close()
        raise
    await _close(wire, engine, until, logs, feature_log, traces)
    signals.ignore()


async def _drain(wire: _core.WireServer, signals: Signals, reloader: Reloader) -> float:
    """First only not ready, so that load balancers turn away; then nothing new; then the rest. Returns when
    (of the monotonic clock) the time for the rest is over."""
    server = reloader.settings.server
    wire.announce_drain()
    _log.info("not ready from now on", extra={"seconds": server.drain_seconds})
    await signals.asked(2, server.drain_seconds)
    wire.drain()
    until = time.monotonic() + server.shutdown_timeout
    _log.info("no new connections from now on", extra={"seconds": server.shutdown_timeout})
    while (wire.connections or wire.requests) and time.monotonic() < until and not signals.was_asked(3):
        await asyncio.sleep(_LOOK)
    if wire.connections or wire.requests:
        left = {"connections": wire.connections, "requests": wire.requests}
        _log.warning("connections were still open at the end", extra=left)
    return until


async def _close(
    wire: _core.WireServer,
    engine: Engine,
    until: float,
    logs: Logs,
    feature_log: "FeatureLog | None",
    traces: "TraceService | None",
) -> None:
    """Close both, at most until then or for some seconds: a run that hangs keeps its thread for ever."""

    def close() -> None:
        wire.close()
        engine.close()

    running = [f"{name}/{version}" for name, version in engine.stuck(0)]
    closing = threading.Thread(target=close, name="falaj-close", daemon=True)
    closing.start()
    await asyncio.to_thread(closing.join, max(_CLOSE_SECONDS, until - time.monotonic()))
    if closing.is_alive():
        _log.error("a model did not end its run; the process ends without it", extra={"running": running})
        if feature_log is not None:
            feature_log.close()
        if traces is not None:
            traces.close()
        logs.close()
        os._exit(1)
    _log.info("the server has ended")


def _metrics_page(
    engine: Engine,
    wire: _core.WireServer,
    settings: Settings,
    features: FeatureService,
    feature_log: "FeatureLog | None",
    traces: "TraceService | None",
) -> Callable[[str], tuple[bytes, str]]:
    """The page of metrics. Its library is loaded when somebody asks, not before the server is ready."""
    options = settings.metrics

    @cache
    def collector() -> "MetricsCollector":
        from falaj.server.ops.metrics import MetricsCollector

        return MetricsCollector(
            engine,
            wire,
            histograms=options.histograms,
            gpu=options.gpu,
            features=features,
            feature_log=feature_log,
            audit=settings.features_dir() / "audit.json",
            traces=traces,
        )

    return lambda accept: collector().render(accept)


def _tell_ready(opened: dict[str, int | str]) -> None:
    _log.info("ready", extra=dict(opened))
    try:
        sys.stdout.write(json.dumps({"event": "ready", **opened}) + "\n")
        sys.stdout.flush()
    except OSError as error:
        _log.warning("nobody reads standard output: %s", error)


def _log_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    _log.error(str(context.get("message", "an event handler failed")), exc_info=context.get("exception"))

"""A server process of our own that serves one model by one setting after the other."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

from falaj._core import Error, Unavailable
from falaj.server.bench.load import Load
from falaj.server.bench.measure import measure
from falaj.server.bench.measured import Measured
from falaj.server.bench.target import Target
from falaj.server.repository_client import RepositoryClient
from falaj.server.tuning.model_toml import with_keys, without
from falaj.server.tuning.rate import Seen
from falaj.server.tuning.setting import ORIGINAL, Setting
from falaj.server.tuning.subject import Subject

_WINDOWS = 3
_WARM_UP = 0.2  # share of a load's time
_MOST_WARM_UP_S = 0.5
_ENDS_S = 10
_CACHE = "cache"  # the table of model.toml that has answers kept
_ONCE_S = 0.3
_SAID_BYTES = 2000
_SETTINGS = "falaj.toml"


@dataclass(frozen=True)
class Asking:
    """How the model is asked.

    Args:
        scheme: `http` or `grpc`.
        rows: Of a request.
        concurrency: Requests under way in the closed loop that finds where to begin.
        connections: Of a load with a rate.
        shapes: Of inputs with variable dimensions, as `Target` has them.
        data: File of inputs, as `Target` has it.
    """

    scheme: str = "http"
    rows: int = 1
    concurrency: int = 64
    connections: int = 64
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = ()
    data: Path | None = None


@dataclass(frozen=True)
class Resolved:
    """What a loaded model is served by. `threads` is None of code that has its own, as a python model."""

    instances: int
    threads: int | None
    max_batch_size: int


class TrialServer:
    """Serves copies of a model on free ports of this machine, until the context is left.

    Its methods are those of one thread. A process that ends by itself is started again for the next setting.

    Args:
        models: Files of variants, by name.
    """

    def __init__(
        self, subject: Subject, asking: Asking, slo_ms: float, models: dict[str, Path], *, cores: int
    ) -> None:
        self._subject, self._asking, self._slo_ms = subject, asking, slo_ms
        self._models, self._cores = models, cores
        self._served: Setting | None = None
        self._copied: str | None = None  # the variant whose files lie in the repository
        self._process: subprocess.Popen[bytes] | None = None
        self._ports: dict[str, int] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="falaj-tune-")

    def __enter__(self) -> "TrialServer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        self._folder.cleanup()

    def __call__(self, setting: Setting, rate: float | None, seconds: float) -> Seen:
        """Serve by a setting and ask. What fails is told in `Seen`, so that a search goes on."""
        try:
            self.serve(setting)
            return _seen(self._measure(rate, seconds))
        except Error as error:
            if self._process is not None and self._process.poll() is not None:
                self._served = None
            return Seen(0.0, 0.0, 0, errors=1, why=str(error))

    def serve(self, setting: Setting) -> None:
        """Serve by a setting, if that is not so. Raises falaj errors where the model is not loaded by it."""
        alive = self._process is not None and self._process.poll() is None
        if alive and setting == self._served:
            return
        self._served = None
        self._write(setting)
        if alive:
            # A reload would take what traffic leaves (decision 7), and other processes leave nothing.
            client = RepositoryClient(self._url("http"))
            client.unload(self._subject.name)
            client.load(self._subject.name)
        else:
            self._start()
        self._served = setting

    def seconds_to_serve(self, setting: Setting) -> float:
        """Serve by a setting, and return what going over to it took, whether it is loaded by it or not."""
        begin = time.monotonic()
        with suppress(Error):
            self.serve(setting)
        return time.monotonic() - begin

    def resolved(self) -> Resolved:
        """What the model that is served now has turned out to be served by. Raises Unavailable."""
        url = f"{self._url('http')}/v2/models/{quote(self._subject.name, safe='')}/config"
        try:
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(url, timeout=_ENDS_S) as answer:
                told: dict[str, Any] = json.load(answer)
        except OSError as error:
            raise Unavailable(f"{url}: {error}") from error
        threads = told["parameters"].get("intra_op_thread_count")
        return Resolved(
            int(told["instance_group"][0]["count"]),
            None if threads is None else int(threads["string_value"]),
            int(told.get("max_batch_size", 0)),
        )

    def ask_once(self) -> None:
        """Ask for a moment, to be told now what no load could be made of.

        Raises:
            InvalidInput: The inputs do not fit the model.
            Unavailable: It fails on them.
        """
        measured = self._measure(None, _ONCE_S)
        if not measured.answered:
            raise Unavailable(
                f"model '{self._subject.name}' answers none of its requests: {_seen(measured).why}"
            )

    def _measure(self, rate: float | None, seconds: float) -> Measured:
        asking = self._asking
        target = Target(
            self._url(asking.scheme),
            self._subject.name,
            batch_size=asking.rows,
            shapes=dict(asking.shapes),
            data=asking.data,
            # What waits longer has failed anyway, and is not waited for at the end of a load.
            timeout_s=max(1.0, 20 * self._slo_ms / 1000),
        )
        if rate is None:
            load = Load.closed(asking.concurrency)
        else:
            load = Load.open(rate, connections=asking.connections)
        warm_up = min(_MOST_WARM_UP_S, _WARM_UP * seconds)
        window = (seconds - warm_up) / _WINDOWS
        return measure(target, load, warm_up_s=warm_up, window_s=window, max_windows=_WINDOWS, stability=10.0)

    def _write(self, setting: Setting) -> None:
        where = str(self._subject.toml)
        # Kept answers would be all that is measured: the same few inputs are asked again and again.
        told = without(self._subject.toml_text(), _CACHE, where=where)
        text = with_keys(told, setting.keys(), where=where)
        if setting.variant != self._copied:
            self._copied = None
            model = None if setting.variant == ORIGINAL else self._models[setting.variant]
            self._subject.copy_to(self._root / "models", model)
            self._copied = setting.variant
        self._subject.in_copy(self._root / "models").write_text(text, encoding="utf-8")

    def _start(self) -> None:
        self._end()
        ports = ("--http-port", "0", "--grpc-port", "0", "--metrics-port", "0", "--host", "127.0.0.1")
        where = ("--repository", str(self._root / "models"), "--data-dir", str(self._root / "data"))
        more = ("--drain-seconds", "0", "--strict", "--cores", str(self._cores), "--log-level", "warning")
        command = [sys.executable, "-m", "falaj.server", "serve", *where, *ports, *more]
        # Not by the settings of the server that lies around here: its TLS, list of models and files of logs.
        (self._root / _SETTINGS).touch()
        env = {name: text for name, text in os.environ.items() if not name.startswith("FALAJ_")}
        env["FALAJ_CONFIG"] = str(self._root / _SETTINGS)
        # As this process finds its modules, wherever it was started.
        env["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        log = self._root / "server.log"
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait(_ENDS_S)
            said = log.read_bytes()[-_SAID_BYTES:].decode(errors="replace").strip()
            raise Unavailable(f"the server for trials did not start: {said}")
        told = json.loads(line)
        self._ports = {"http": told["http"], "grpc": told["grpc"]}

    def _end(self) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_ENDS_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._process.stdout is not None:
            with suppress(OSError):
                self._process.stdout.close()
        self._process = None

    def _url(self, scheme: str) -> str:
        return f"{scheme}://127.0.0.1:{self._ports[scheme]}"

    @property
    def _root(self) -> Path:
        return Path(self._folder.name)


def _seen(measured: Measured) -> Seen:
    errors = sum(measured.errors.values())
    told = "; ".join(f"{count} x {kind}" for kind, count in measured.errors.items())
    texts = "; ".join(text for text in measured.error_texts.values() if text)
    why = f"{told}: {texts}" if told and texts else told
    return Seen(measured.throughput, measured.p99_us / 1000, measured.answered, errors, measured.unsent, why)

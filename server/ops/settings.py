"""Everything that can be said about a running server: the one result of flags, environment and `falaj.toml`.

The tree is immutable and made in one place, `load_settings`, the only reader of the environment and of the
file. docs/configuration.md lists the keys.
"""

from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, ClassVar, Literal

from falaj.server.errors import ConfigError
from falaj.server.ops.layers import Flag, resolve
from falaj.server.ops.limits import Grpc, Http, Limits, wire_limits
from falaj.server.ops.section import Bounds, Section
from falaj.server.ops.shared_memory import SharedMemory
from falaj.server.ops.tls import Tls
from falaj.server.ops.tracing import Tracing

_DAY = 86_400.0
# Seconds between looks at the repository where model_control is "poll" and `watch` is not set.
_POLL_SECONDS = 15.0
_PORTS = ("http_port", "grpc_port", "metrics_port")


def _require_host(key: str, host: str) -> None:
    """Names are not resolved: a server that listens where a name happens to lead is a surprise."""
    if host == "localhost":
        return
    try:
        ip_address(host)
    except ValueError as error:
        raise ConfigError(f"expected an IP address or localhost, got '{host}'", key=key) from error


class Server(Section, frozen=True):
    """What is served, where, and how it begins and ends."""

    repository: str = "models"
    """Folder of the models. Default: models."""
    data_dir: str = ".falaj"
    """Folder of what Falaj keeps: the record of feature views, and the online store by default. Default:
    .falaj."""
    host: str = "127.0.0.1"
    """Address to listen on. Default: 127.0.0.1, this machine only. 0.0.0.0 or :: for every interface, as in a
    container; then see [tls] and the limits."""
    http_port: int = 8000
    """Port of HTTP; 0 picks a free one, -1: none. Default: 8000."""
    grpc_port: int = 8001
    """Port of gRPC; 0 picks a free one, -1: none. Default: 8001."""
    metrics_port: int = 8002
    """Port of metrics and administration; 0 picks a free one, -1: none. Default: 8002."""
    unix_socket: str | None = None
    """Path of a Unix socket that answers HTTP too. Default: none. Set it for clients on the same machine."""
    cores: int | None = None
    """Cores that running models may keep busy. Default: those that affinity and cgroup quota allow."""
    model_control: Literal["none", "poll", "explicit"] = "explicit"
    """What changes the served models after the start. `none`: nothing; `poll`: the folder, looked at every
    `watch` seconds; `explicit`: requests to load and unload. Default: explicit."""
    load: tuple[str, ...] = ("*",)
    """Models that are loaded at the start, "*": all that are there. Default: all. Belongs to model_control
    "explicit"."""
    watch: float | None = None
    """Seconds between looks at the folder for changes. Default: none; 15 with model_control "poll"."""
    strict: bool = False
    """Whether a model that cannot be loaded ends the start. Default: false, the others are served."""
    compat: Literal["", "triton"] = ""
    """`triton`: the server's name, health answers and error texts are those of NVIDIA Triton. Default: none.
    Set it for clients that look at them."""
    drain_seconds: float = 5.0
    """Seconds between being told to end and taking no more requests. In them readiness is false and requests
    are answered, so that a load balancer turns away first. Default: 5. Set it above the interval of its
    checks; 0 where nobody checks."""
    shutdown_timeout: float = 30.0
    """Seconds that requests in flight are then given. Default: 30. Set it above the longest request, and the
    sum of both below what the process manager waits before it kills."""
    stuck_after: float = 30.0
    """Seconds that an executor may be inside one batch; after that its model is not ready. Default: 30. Raise
    it for models whose batches take longer."""

    BOUNDS: ClassVar[Bounds] = {
        **dict.fromkeys(_PORTS, (-1, 65_535)),
        "cores": (1, 65_536),
        "watch": (0.05, _DAY),
        "drain_seconds": (0, _DAY),
        "shutdown_timeout": (0, _DAY),
        "stuck_after": (0.001, _DAY),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_host("host", self.host)
        for key in ("repository", "data_dir", "unix_socket"):
            if getattr(self, key) == "":
                raise ConfigError("expected a path, got ''", key=key)
        chosen = [(port, getattr(self, port)) for port in _PORTS if getattr(self, port) > 0]
        for index, (key, port) in enumerate(chosen):
            for other, same in chosen[:index]:
                if port == same:
                    raise ConfigError(f"expected another port than {other}, got {port} for both", key=key)
        if self.http_port < 0 and self.grpc_port < 0 and self.unix_socket is None:
            raise ConfigError("expected a port or a unix_socket, nothing would be answered", key="http_port")
        self._check_model_control()

    @property
    def watch_seconds(self) -> float | None:
        """Seconds between looks at the folder; None: never."""
        return _POLL_SECONDS if self.model_control == "poll" and self.watch is None else self.watch

    def _check_model_control(self) -> None:
        if self.model_control != "explicit" and self.load != ("*",):
            raise ConfigError(
                f"expected all models with model_control '{self.model_control}', got {[*self.load]}",
                key="load",
            )
        if self.model_control == "none" and self.watch is not None:
            raise ConfigError("expected none with model_control 'none'", key="watch")
        for index, name in enumerate(self.load):
            if not name or (name == "*" and len(self.load) > 1):
                raise ConfigError(f"expected a model's name, or only '*', got {name!r}", key=f"load[{index}]")


class Admin(Section, frozen=True):
    """The listener of metrics and administration. Its bounds are those of [http]."""

    host: str | None = None
    """Address it listens on. Default: server.host. Set it to keep administration on an inner network."""
    tls: Tls | None = None
    """TLS of this listener. Default: none, also where [tls] is there."""

    def __post_init__(self) -> None:
        if self.host is not None:
            _require_host("host", self.host)


class Log(Section, frozen=True):
    """What is written down, where, and in which form."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least grave lines that are written. Default: info. `debug` is info with `verbose` at least 1."""
    format: Literal["text", "json"] | None = None
    """`text` for people, `json` for programs: one object a line. Default: text on a terminal, else json."""
    file: str | None = None
    """Path of the file that lines are appended to. Default: none, standard error. SIGHUP opens it anew."""
    access_log_sample: float = 0.0
    """Share of requests, 0 to 1, that get a line of their own. Default: 0. Raise it to see who asks for what;
    each line costs about 10 µs of CPU."""
    verbose: int = 0
    """How much is told of the server's inner workings. Default: 0, nothing. Raise it to look for a fault."""

    BOUNDS: ClassVar[Bounds] = {"access_log_sample": (0, 1), "verbose": (0, 9)}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.file == "":
            raise ConfigError("expected the path of a file, got ''", key="file")


class Metrics(Section, frozen=True):
    """What the page of metrics shows."""

    histograms: bool = True
    """Whether histograms are shown, some 100 lines for each model version. Default: true. Set it to false
    where a monitoring system pays by series."""
    gpu: bool = True
    """Whether GPUs are asked for their load, where the package nvidia-ml-py is installed. Default: true."""


class Features(Section, frozen=True):
    """Where models look their features up, who writes there, and the log of what they found."""

    store: str | None = None
    """URL of the online store, such as `lmdb://FOLDER`. Default: the one of `falaj features materialize`, in
    server.data_dir; it is opened when a model needs it."""
    push: bool = True
    """Whether requests may write rows to views. Default: true. Set it to false where those who ask models are
    not those who know."""
    as_of: bool = False
    """Whether requests may say as of when they are looked up, by the input `features_as_of` (INT64, UTC µs),
    and pushes as of when they are.
    Default: false. Set it to true to replay the past."""
    log_sample: float = 0.0
    """Share of requests, 0 to 1, of which it is logged what they were served with, in server.data_dir.
    Default: 0. Raise it for `falaj features audit`."""
    log_buffer_bytes: int = 4 << 20
    """Bytes of the log that wait to be written, of each model version; what is more is dropped and counted.
    Default: 4 MiB. Raise it where rows are dropped."""

    log_max_bytes: int = 10 << 30
    """Bytes of the log's files, of all models; the oldest are removed, but for the newest. Default: 10 GiB.
    Set it to what the disk has for it."""
    log_max_days: float | None = None
    """Days after which a file of the log is removed. Default: none. Set it where personal data may be kept
    only so long."""

    BOUNDS: ClassVar[Bounds] = {
        "log_sample": (0, 1),
        "log_buffer_bytes": (65_536, 1 << 30),
        "log_max_bytes": (1 << 20, 1 << 50),
        "log_max_days": (0.01, 36_500),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.store == "":
            raise ConfigError("expected the URL of a store, got ''", key="store")


class Settings(Section, frozen=True):
    """The whole tree; each table is one attribute."""

    server: Server = Server()
    http: Http = Http()
    grpc: Grpc = Grpc()
    admin: Admin = Admin()
    limits: Limits = Limits()
    tls: Tls = Tls()
    log: Log = Log()
    metrics: Metrics = Metrics()
    features: Features = Features()
    tracing: Tracing = Tracing()
    shared_memory: SharedMemory = SharedMemory()

    def online_store(self) -> str:
        """Return the URL of the online store."""
        return self.features.store or f"lmdb://{Path(self.server.data_dir) / 'online'}"

    def features_dir(self) -> Path:
        """Return the folder of the log of served features and of what its audit found."""
        return Path(self.server.data_dir) / "features"

    def wire_options(self) -> dict[str, Any]:
        """Return the options of the native WireServer, whose names csrc/wire/wire_options.h gives."""
        return {
            **wire_limits(self.limits, self.http, self.grpc),
            "triton_compat": self.server.compat == "triton",
            "access_log_per_million": round(self.log.access_log_sample * 1_000_000),
        }

    def listener_tls(self, kind: Literal["http", "grpc", "admin"]) -> dict[str, Any] | None:
        """Return the TLS of a listener as WireServer.listen takes it, None where it has none."""
        own: Tls | None = getattr(self, kind).tls
        shared = Tls() if kind == "admin" else self.tls
        return (shared if own is None else own).wire_tls()


def load_settings(
    config: Path | None = None,
    *,
    flags: Mapping[str, Flag] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Return the settings of flags, then `FALAJ_SECTION_KEY` variables, then a file, then defaults.

    Args:
        config: The file. Default: what FALAJ_CONFIG names, else `falaj.toml` if the current folder has it.
        flags: Key path, such as "server.http_port", to the flag that gives it.
        environment: Default: the process's own.

    Raises:
        ConfigError: names the file's line, the variable or the flag, what was found and what was expected.
    """
    return resolve(Settings, config, flags=flags or {}, environment=environment)

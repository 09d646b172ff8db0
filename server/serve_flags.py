"""The flags of `falaj serve`: one row each, made into the options of a command."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from falaj.server.errors import ConfigError
from falaj.server.ops.layers import Flag
from falaj.server.ops.settings import Settings


@dataclass(frozen=True)
class ServeFlag:
    """A setting with a flag of its own. Its value is text that is read as a variable's would be."""

    key: str  # "server.http_port"
    metavar: str | None  # None: a switch, --strict and --no-strict
    help: str
    name: str = ""  # empty: the key's last part

    @property
    def parameter(self) -> str:
        """Name of the command's parameter, such as http_port."""
        return self.name or self.key.rpartition(".")[2]

    @property
    def flag(self) -> str:
        """What the user writes, such as --http-port."""
        return "--" + self.parameter.replace("_", "-")


FLAGS = (
    ServeFlag("server.repository", "FOLDER", "Folder of the models."),
    ServeFlag("server.data_dir", "FOLDER", "Folder of what the server itself keeps."),
    ServeFlag("server.host", "ADDRESS", "Address to listen on; 0.0.0.0 for every interface."),
    ServeFlag("server.http_port", "PORT", "Port of HTTP; 0 picks a free one, -1: none."),
    ServeFlag("server.grpc_port", "PORT", "Port of gRPC."),
    ServeFlag("server.metrics_port", "PORT", "Port of metrics and administration."),
    ServeFlag("server.unix_socket", "PATH", "Unix socket that answers HTTP too."),
    ServeFlag("server.cores", "NUMBER", "Cores that running models may keep busy."),
    ServeFlag("limits.io_threads", "NUMBER", "Threads that carry connections."),
    ServeFlag("server.model_control", "none|poll|explicit", "What changes the models after the start."),
    ServeFlag("server.load", "MODEL,...", "Models that are loaded at the start."),
    ServeFlag("server.watch", "SECONDS", "Time between looks at the folder for changes."),
    ServeFlag("server.strict", None, "Whether a model that cannot be loaded ends the start."),
    ServeFlag("server.compat", "triton", "Answer as that server would where the two differ."),
    ServeFlag(
        "shared_memory.allow", None, "Whether clients may pass tensors by /dev/shm.", "allow_shared_memory"
    ),
    ServeFlag("server.drain_seconds", "SECONDS", "Time of being not ready before the end."),
    ServeFlag("server.shutdown_timeout", "SECONDS", "Time for requests in flight at the end."),
    ServeFlag("tls.certificate", "FILE", "PEM file of the server's certificate.", "tls_certificate"),
    ServeFlag("tls.key", "FILE", "PEM file of its key.", "tls_key"),
    ServeFlag("log.level", "debug|info|warning|error", "The least grave lines written.", "log_level"),
    ServeFlag("log.format", "text|json", "Form of the log; text on a terminal, else json.", "log_format"),
    ServeFlag("log.file", "FILE", "File of the log in place of standard error.", "log_file"),
    ServeFlag("log.access_log_sample", "SHARE", "Share of requests, 0 to 1, with a line of their own."),
)
_CONFIG = "config"
_SET = "set_"


def with_serve_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command of one argument, the options by name, the options that Typer is to read."""

    def run(**options: Any) -> Any:
        return command(options)

    # Typer reads the signature and the annotations.
    named = {flag.parameter: _annotation(flag) for flag in FLAGS}
    config = typer.Option("--config", metavar="FILE", help="File of settings. Default: falaj.toml.")
    any_key = typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Any setting; may be repeated.")
    annotations = {
        _CONFIG: Annotated[str | None, config],
        **named,
        _SET: Annotated[list[str] | None, any_key],
    }
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter(name, keyword, default=None, annotation=kind) for name, kind in annotations.items()
    ]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = dict(annotations)
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    return run


def given_flags(options: Mapping[str, Any]) -> dict[str, Flag]:
    """Return what was given, by key path. Raises ConfigError where --set is not SECTION.KEY=VALUE."""
    given: dict[str, Flag] = {}
    for flag in FLAGS:
        value = options[flag.parameter]
        if value is not None:
            name = flag.flag.replace("--", "--no-") if value is False else flag.flag
            given[flag.key] = Flag(name, value)
    for text in options[_SET] or ():
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"expected SECTION.KEY=VALUE, got '{text}'", source="--set")
        given[key.strip()] = Flag(f"--set {key.strip()}", value.strip())
    return given


def _annotation(flag: ServeFlag) -> Any:
    default = _default(flag.key)
    shown = f"{flag.help} Default: {default}." if default else flag.help
    name = flag.flag if flag.metavar else f"{flag.flag}/{flag.flag.replace('--', '--no-')}"
    option = typer.Option(name, metavar=flag.metavar, help=shown)
    kind: Any = str if flag.metavar else bool
    return Annotated[kind | None, option]


def _default(key: str) -> str:
    """A default as help shows it; empty where there is none."""
    value: Any = Settings()
    for part in key.split("."):
        value = getattr(value, part)
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, bool):
        return ""
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)

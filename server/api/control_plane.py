"""What administrators and clients ask of the server besides inference, whatever transport they ask by."""

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from falaj import _core
from falaj.server.api import model_json
from falaj.server.engine import Engine
from falaj.server.override import Override
from falaj.server.triton_config import parse_config_json

# Named as Triton names them: clients look for these words.
EXTENSIONS = (
    "classification",
    "model_repository",
    "model_repository(unload_dependents)",
    "schedule_policy",
    "model_configuration",
    "binary_tensor_data",
    "parameters",
    "statistics",
    "logging",
)
_FILE = "file:"


class LogSettings(Protocol):
    """The settings of the protocol's logging extension."""

    def as_dict(self) -> dict[str, bool | int | str]:
        """Return all of them."""

    def update(self, values: Mapping[str, Any]) -> None:
        """Change some. Raises InvalidInput, and nothing is changed."""


class ControlPlane:
    """Operations over one engine, answered as the protocol's JSON objects. Thread-safe; loading blocks.

    Args:
        engine: what is asked about.
        triton_compat: speak as Triton does where clients may have come to rely on it.
        logs: the settings that the logging extension reads and writes.
        is_draining: true once the server was told to stop.
        stuck_after: seconds in one batch after which a model is not ready any more.
        may_change: whether requests may load and unload models.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        triton_compat: bool,
        logs: LogSettings,
        is_draining: Callable[[], bool],
        stuck_after: float = 30.0,
        may_change: bool = True,
    ) -> None:
        self.triton_compat = triton_compat
        self.logs = logs
        self._engine = engine
        self._is_draining = is_draining
        self._stuck_after = stuck_after
        self._may_change = may_change

    def server_metadata(self) -> dict[str, Any]:
        """Name, version and extensions of the server."""
        name = "triton" if self.triton_compat else "falaj"
        return {"name": name, "version": _core.__version__, "extensions": list(EXTENSIONS)}

    def why_not_ready(self) -> str | None:
        """Why requests had better go elsewhere; None: the server is ready.

        It is not while it drains, while a known model has no version in service, or while one is stuck.
        """
        if self._is_draining():
            return "the server is stopping"
        states: dict[str, set[str]] = {}
        for row in self._engine.models():
            states.setdefault(row["name"], set()).add(row["state"])
        missing = sorted(name for name, seen in states.items() if "READY" not in seen)
        if missing:
            return f"not in service: {', '.join(missing)}"
        for (name, version), seconds in self._engine.stuck(self._stuck_after).items():
            return f"model '{name}' version {version} has been in one batch for {seconds:.0f} s"
        return None

    def why_model_not_ready(self, name: str, version: int | None) -> str | None:
        """Why the model does not answer; None: it does. Raises NotFound."""
        if self._is_draining():
            return "the server is stopping"
        try:
            described = self._engine.describe(name, version)
        except _core.Unavailable as error:
            return str(error)
        seconds = self._engine.stuck(self._stuck_after).get((name, described["version"]))
        if seconds is not None:
            return f"model '{name}' has been in one batch for {seconds:.0f} s"
        return None

    def model_names(self) -> list[str]:
        """Names of the known models."""
        return sorted({row["name"] for row in self._engine.models()})

    def model_metadata(self, name: str, version: int | None) -> dict[str, Any]:
        """Versions, platform, inputs and outputs. Raises NotFound or Unavailable."""
        described = self._engine.describe(name, version)
        versions = [
            str(row["version"])
            for row in self._engine.models()
            if row["name"] == name and row["state"] == "READY"
        ]
        return model_json.metadata(described, versions)

    def model_config(self, name: str, version: int | None) -> dict[str, Any]:
        """The configuration in force, in Triton's field names. Raises NotFound or Unavailable."""
        return model_json.config(self._engine.describe(name, version))

    def statistics(self, name: str | None, version: int | None) -> dict[str, Any]:
        """Counters of one model (all its versions, where none is named) or of all. Raises NotFound."""
        if name is not None:
            self._engine.describe(name, version)  # a name that is not known is an error, not an empty list
        rows = self._engine.stats()
        wanted = [
            row
            for row in rows
            if name in (None, row["name"]) and (version is None or row["version"] == version)
        ]
        return {"model_stats": [model_json.statistics(row) for row in wanted]}

    def index(self, ready: bool) -> list[dict[str, str]]:
        """The known models and versions; those in service only, where `ready`."""
        return [
            {
                "name": row["name"],
                "version": "" if row["version"] is None else str(row["version"]),
                "state": row["state"],
                "reason": row["reason"],
            }
            for row in self._engine.models()
            if not ready or row["state"] == "READY"
        ]

    def load(self, name: str, parameters: Mapping[str, Any]) -> None:
        """Load or reload a model. `config` is a JSON text in Triton's field names that replaces the model's
        configuration; `file:<version>/<name>`, bytes or base64, are files that replace its folder and need a
        `config` beside them. Raises InvalidInput, NotFound, Unavailable, Unsupported."""
        self._check_may_change()
        unknown = [key for key in parameters if key != "config" and not key.startswith(_FILE)]
        if unknown:
            raise _core.InvalidInput(
                f"load: unknown parameter '{unknown[0]}'; expected config or file:<version>/<name>"
            )
        files = {
            key.removeprefix(_FILE): _file_content(key, value)
            for key, value in parameters.items()
            if key != "config"
        }
        text = parameters.get("config")
        if text is None and files:
            raise _core.InvalidInput("load: files are given, so `config` is needed too")
        if text is None:
            self._engine.reload(name)
            return
        if not isinstance(text, str):
            raise _core.InvalidInput("load: expected `config` to be a string of JSON")
        config, warnings = parse_config_json(text, source="config", model_name=name)
        self._engine.load_override(name, Override(config, tuple(warnings), files))

    def unload(self, name: str, parameters: Mapping[str, Any]) -> None:
        """Take a model out of service. `unload_dependents` is accepted: there are no pipelines yet, so
        nothing depends on a model. Raises InvalidInput, NotFound or Unsupported."""
        self._check_may_change()
        for key, value in parameters.items():
            if key != "unload_dependents":
                raise _core.InvalidInput(f"unload: unknown parameter '{key}'; expected unload_dependents")
            if not isinstance(value, bool):
                raise _core.InvalidInput("unload: expected unload_dependents to be true or false")
        self._engine.unload(name)

    def _check_may_change(self) -> None:
        if not self._may_change:
            raise _core.Unsupported(
                "requests do not load or unload models here: server.model_control is not 'explicit'"
            )


def _file_content(key: str, value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise _core.InvalidInput(f"load: expected `{key}` to be a string of base64")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _core.InvalidInput(f"load: `{key}` is not base64: {error}") from error

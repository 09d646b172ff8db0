"""What administrators and clients ask of the server besides inference, whatever transport they ask by."""

import re
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, Protocol, TypeVar

from falaj import _core
from falaj.server.api import triton_texts
from falaj.server.api.background import Background
from falaj.server.api.load_request import read_load_parameters
from falaj.server.api.metadata import model_metadata, server_metadata
from falaj.server.api.readiness import Readiness
from falaj.server.api.shared_regions import SharedRegions
from falaj.server.api.statistics import version_statistics
from falaj.server.api.triton_model_config import triton_model_config
from falaj.server.describe import statistics
from falaj.server.engine import Arrays, Engine
from falaj.server.feature_service import FeatureService
from falaj.server.folder import model_names, read_folder
from falaj.server.loader import LoadedVersion
from falaj.server.tensors import Tensor

T = TypeVar("T")

# What fits into 64 bits with sign, or nearly.
_VERSION = re.compile(r"[1-9][0-9]{,17}")
_QUOTED_MAX = 60


class LogSettings(Protocol):
    """The settings of the protocol's logging extension."""

    def as_dict(self) -> dict[str, bool | int | str]:
        """Return all of them."""

    def update(self, values: Mapping[str, Any]) -> None:
        """Change some, all or nothing. Raises InvalidInput."""


class TraceSettings(Protocol):
    """The settings of the protocol's trace extension."""

    def as_dict(self, model: str | None) -> dict[str, str | list[str]]:
        """Return those of a model, or of all."""

    def update(self, model: str | None, values: Mapping[str, Any]) -> None:
        """Change some, all or nothing; None clears one. Raises InvalidInput or Unsupported."""


class ControlPlane:
    """Operations over one engine, answered as the protocol's JSON objects. Thread-safe.

    `index` reads the repository's folder, and `load` and `unload` take as long as the model does: an event
    loop gives the first a thread and has the others `run`. The rest is quick. Versions are numbers, None for
    the one that is served by default. Every operation raises the errors of falaj._core.

    Args:
        engine: what is asked about.
        triton_compat: speak as Triton does where clients may have come to rely on it.
        logs: the settings that the logging extension reads and writes; None: it is not served.
        traces: the same of the trace extension.
        is_draining: true once the server was told to stop.
        stuck_after: seconds in one batch after which a model is not ready any more.
        may_change: whether requests may load and unload models.
        may_bring_code: whether requests that load a model may bring Python code, which runs in the server.
        features: what requests read of views, and write to them; None: nothing. Closed with this.
        shared_memory: the front end's regions; None: clients may not register any.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        triton_compat: bool = False,
        logs: LogSettings | None = None,
        traces: TraceSettings | None = None,
        is_draining: Callable[[], bool] = lambda: False,
        stuck_after: float = 30.0,
        may_change: bool = True,
        may_bring_code: bool = False,
        features: FeatureService | None = None,
        shared_memory: _core.SharedMemory | None = None,
    ) -> None:
        self.triton_compat = triton_compat
        self.regions = SharedRegions(shared_memory)
        self.features = features
        self._engine = engine
        self._logs = logs
        self._traces = traces
        self._readiness = Readiness(engine, is_draining, stuck_after)
        self._may_change = may_change
        self._may_bring_code = may_bring_code
        self._background = Background()

    async def run(self, operation: Callable[..., T], *args: Any) -> T:
        """Run `load` or `unload` on a thread; a caller that leaves does not stop it."""
        return await self._background.run(operation, *args)

    def close(self) -> None:
        """Begin no more of what `run` was given."""
        self._background.close()
        if self.features is not None:
            self.features.close()

    def server_metadata(self) -> dict[str, Any]:
        """Name, version and extensions of the server."""
        name = "triton" if self.triton_compat else "falaj"
        return server_metadata(
            name,
            changes=self._may_change,
            logging=self._logs is not None,
            tracing=self.traces_requests,
            shared_memory=self.regions.are_served,
        )

    @property
    def traces_requests(self) -> bool:
        """Whether the trace extension is served."""
        return self._traces is not None

    def version_of(self, text: str) -> int | None:
        """Return the version that a request names, None for an empty text. Raises InvalidInput."""
        if not text:
            return None
        if not _VERSION.fullmatch(text):
            if self.triton_compat:
                raise triton_texts.bad_version(text)
            raise _core.InvalidInput(f"expected a version of 1 or more, got '{text[:_QUOTED_MAX]}'")
        return int(text)

    def why_not_ready(self) -> str | None:
        """Why requests had better go elsewhere; None: the server is ready."""
        return self._readiness.why_server_is_not()

    def why_model_not_ready(self, name: str, version: int | None) -> str | None:
        """Why the model does not answer; None: it does. Raises NotFound where it is neither known nor in the
        repository; where clients expect Triton's ways it is merely not ready then."""
        try:
            loaded = self._served(name, version)
        except _core.Unavailable as error:
            return str(error)
        except _core.NotFound as error:
            if self.triton_compat or self._has_folder(name, version):
                return str(error)
            raise
        return self._readiness.why_model_is_not(loaded.name, loaded.version)

    def inputs_of(self, name: str, version: int | None) -> tuple[int, tuple[Tensor, ...]]:
        """Which version answers, and what it takes."""
        loaded = self._served(name, version)
        return loaded.version, loaded.inputs

    def ask(
        self, name: str, version: int | None, inputs: dict[str, Any], timeout: float | None, priority: int
    ) -> AsyncGenerator[Arrays, None]:
        """The answers to one request, as `Engine.infer_stream_async` gives them."""
        return self._engine.infer_stream_async(
            name, inputs, version=version, timeout=timeout, priority=priority
        )

    def model_names(self) -> list[str]:
        """Names of the known models."""
        return sorted({row["name"] for row in self._engine.models()})

    def model_metadata(self, name: str, version: int | None) -> dict[str, Any]:
        """Versions in service, platform, inputs and outputs. Raises NotFound or Unavailable."""
        loaded = self._served(name, version)
        rows = self._engine.models() if version is None else []
        versions = [row["version"] for row in rows if row["name"] == name and row["state"] == "READY"]
        return model_metadata(loaded, versions or [loaded.version])

    def model_config(self, name: str, version: int | None) -> dict[str, Any]:
        """The configuration in force, in Triton's field names. Raises NotFound or Unavailable."""
        return triton_model_config(self._served(name, version))

    def statistics(self, name: str | None, version: int | None) -> dict[str, Any]:
        """Counters of one version, of all versions of a model, or of all in service. Raises NotFound or
        Unavailable."""
        serving = self._engine.repository.serving()
        if name is not None:
            if not self.triton_compat:
                self._served(name, version)  # a name that is not known is an error, not an empty list
            serving = [one for one in serving if one.name == name and version in (None, one.version)]
            if not serving:
                raise triton_texts.no_statistics(name, version)
        return {"model_stats": [version_statistics(statistics(one)) for one in serving]}

    def index(self, ready: bool) -> list[dict[str, str]]:
        """The known models and versions, and models of the repository's folder that are not loaded; only what
        is in service, where `ready`. Blocks: it reads the folder."""
        repository = self._engine.repository
        changing = repository.changing()
        rows = [
            _entry(row["name"], row["version"], row["state"], row["reason"])
            for row in repository.index()
            if not ready or row["state"] == "READY"
        ]
        if ready:
            return rows
        named = {row["name"] for row in rows}
        rows += [_entry(name, None, "LOADING", "") for name in sorted(changing - named)]
        try:
            there = model_names(repository.root)
        except (OSError, _core.NotFound):
            there = []  # the folder is away at the moment; what was loaded from it is still served
        rows += [
            _entry(name, None, "UNAVAILABLE", "not loaded") for name in there if name not in named | changing
        ]
        return sorted(rows, key=lambda row: (row["name"], int(row["version"] or 0)))

    def load(self, name: str, parameters: Mapping[str, object]) -> None:
        """Load a model, or load it anew; what is in service stays until the new version is. Blocks.

        Args:
            name: The model's.
            parameters: `config`, a ModelConfig in JSON, replaces the model's configuration;
                `file:<version>/<name>`, contents as bytes, replace its folder. Both until the next load.

        Raises InvalidInput, NotFound, Unavailable or Unsupported.
        """
        self._require_changes()
        override = read_load_parameters(name, parameters, allow_code=self._may_bring_code)
        try:
            self._engine.repository.load(name, force=True, override=override)
        except _core.Error as error:
            if not self.triton_compat:
                raise
            known = any(row["name"] == name for row in self._engine.models())
            raise (
                triton_texts.load_failed(name, str(error)) if known else triton_texts.not_loaded(name)
            ) from error

    def unload(self, name: str, parameters: Mapping[str, object]) -> None:
        """Take a model out of service, and answer what it has accepted first. Blocks.

        The parameter `unload_dependents` also unloads the models that a pipeline is made of, but for those
        that another one needs. Raises InvalidInput, NotFound or Unavailable.
        """
        self._require_changes()
        for key, value in parameters.items():
            if key != "unload_dependents":
                raise _core.InvalidInput(f"unload parameter '{key}' is unknown; expected unload_dependents")
            if not isinstance(value, bool):
                raise _core.InvalidInput(f"unload parameter '{key}': expected true or false, got {value!r}")
        try:
            self._engine.repository.unload(name, dependents=parameters.get("unload_dependents") is True)
        except _core.NotFound:
            if not self.triton_compat:  # Triton finds nothing wrong with it
                raise

    def log_settings(self) -> dict[str, bool | int | str]:
        """What the server writes down, by the protocol's names. Raises Unsupported."""
        return self._switches().as_dict()

    def change_log_settings(self, values: Mapping[str, Any]) -> dict[str, bool | int | str]:
        """Change some; return all. Raises InvalidInput, and then nothing was changed, or Unsupported."""
        switches = self._switches()
        if values:
            switches.update(values)
        return switches.as_dict()

    def trace_settings(self, name: str | None) -> dict[str, str | list[str]]:
        """What is traced, of a model or of all, by the protocol's names. Raises NotFound or Unsupported."""
        return self._tracing_of(name).as_dict(name)

    def change_trace_settings(
        self, name: str | None, values: Mapping[str, Any]
    ) -> dict[str, str | list[str]]:
        """Change some, None clears one; return all. Raises NotFound, InvalidInput or Unsupported, and then
        nothing was changed."""
        settings = self._tracing_of(name)
        if values:
            settings.update(name, values)
        return settings.as_dict(name)

    def _tracing_of(self, name: str | None) -> TraceSettings:
        if self._traces is None:
            raise _core.Unsupported("the trace extension is not served: tracing.enabled is false")
        known = name is None or any(row["name"] == name for row in self._engine.models())
        if not known and not self._has_folder(str(name), None):
            if self.triton_compat:
                raise triton_texts.unknown_model(str(name), None)
            raise _core.NotFound(f"model '{name}' is not known")
        return self._traces

    def _switches(self) -> LogSettings:
        if self._logs is None:
            raise _core.Unsupported("this server has no log settings")
        return self._logs

    def _require_changes(self) -> None:
        if not self._may_change:
            text = "requests do not load or unload models here: server.model_control is not 'explicit'"
            raise _core.Unavailable(triton_texts.CONTROL_IS_OFF if self.triton_compat else text)

    def _has_folder(self, name: str, version: int | None) -> bool:
        try:
            return version in (None, *read_folder(self._engine.repository.root, name).versions)
        except (_core.NotFound, OSError):
            return False

    def _served(self, name: str, version: int | None) -> LoadedVersion:
        repository = self._engine.repository
        try:
            return repository.served(name, version)
        except (_core.NotFound, _core.Unavailable) as error:
            if not self.triton_compat:
                raise
            is_known = isinstance(error, _core.Unavailable)
            text_of = triton_texts.not_in_service if is_known else triton_texts.unknown_model
            raise text_of(name, version) from error


def _entry(name: str, version: int | None, state: str, reason: str) -> dict[str, str]:
    return {
        "name": name,
        "version": "" if version is None else str(version),
        "state": state,
        "reason": reason,
    }

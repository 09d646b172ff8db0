"""Which versions of which models are in service, and how that changes while requests come in."""

import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from falaj import _core
from falaj.server.folder import (
    Fingerprint,
    ModelFolder,
    fingerprint,
    folder_at,
    is_model_name,
    model_names,
    read_config,
    read_folder,
    wanted_versions,
)
from falaj.server.give_way import give_way
from falaj.server.loader import LoadedVersion, Source, load_version
from falaj.server.model_config import ModelConfig
from falaj.server.online_features import OnlineFeatures
from falaj.server.override import Override, OverrideFolders
from falaj.server.pipeline_config import graph_of, models_of
from falaj.server.pipeline_loader import load_pipeline
from falaj.server.pipeline_needs import Needs, check_no_circle, dependents_first, misfits

_log = logging.getLogger("falaj.repository")
# How often a version that finishes sequences looks whether it was taken out of service meanwhile.
_LINGER_SECONDS = 60.0


@dataclass
class _Entry:
    """One known model. Changed only under its own lock; published whole."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    serving: dict[int, LoadedVersion] = field(default_factory=dict)
    prints: dict[int, Fingerprint] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)  # version (0: the model as such) -> reason
    warnings: list[str] = field(default_factory=list)
    lingering: list[LoadedVersion] = field(default_factory=list)  # until their sequences have ended
    folders: set[Path] = field(default_factory=set)  # of overrides; those in use are kept
    needs: tuple[str, ...] = ()  # models that it is made of
    misfits: dict[int, str] = field(default_factory=dict)  # version -> why its models do not fit it now

    def answering(self) -> dict[int, LoadedVersion]:
        """The versions that requests can be given to."""
        return {version: one for version, one in self.serving.items() if version not in self.misfits}

    def reasons(self) -> dict[int, str]:
        """Why versions (0: the model as such) do not answer."""
        return {**self.failures, **self.misfits}


class Repository:
    """The models under one folder. Thread-safe.

    A change loads and warms up the new version beside the old one, publishes the new table in one step, and
    then waits for the old version's requests before its memory is given back. What fails to load changes
    nothing for what is in service.
    """

    def __init__(self, root: Path, runtime: _core.Runtime, cores: int, features: OnlineFeatures) -> None:
        self._root = root
        self._runtime = runtime
        self._cores = cores
        self._features = features
        self._entries: dict[str, _Entry] = {}
        self._table_lock = threading.Lock()  # of _entries and of publishing; never held while loading
        self._overrides = OverrideFolders()

    @property
    def root(self) -> Path:
        """The repository's folder."""
        return self._root

    def load_all(self, names: Sequence[str] | None = None) -> dict[str, str]:
        """Load every model that is there, or those named; return the reason of each that failed, by name."""
        failed = {}
        there = model_names(self._root)
        for name in there if names is None else names:
            try:
                self.load(name)
            except _core.Error as error:
                failed[name] = str(error)
                _log.warning("model '%s' was not loaded: %s", name, error)
        return failed

    def load(self, name: str, *, force: bool = False, override: Override | None = None) -> None:
        """Bring the model in line with its folder and configuration, or with `override`.

        Versions whose files and configuration are unchanged stay as they are, unless `force` or overridden.
        Models that a pipeline needs and that are not in service are loaded first; pipelines that failed for
        want of this one are tried again. Raises the first failure after everything that could be loaded is in
        service.
        """
        self._load_needed(name, override, ())
        self._load_one(name, force, override)
        self._load_those_that_wait(name)

    def _load_needed(self, name: str, override: Override | None, path: tuple[str, ...]) -> None:
        """Load the models that a pipeline needs, before its own lock is held. What fails is told by its
        load."""
        path = (*path, name)
        for model in self._needed(name, override):
            with self._table_lock:
                entry = self._entries.get(model)
                is_there = entry is not None and bool(entry.serving)
            if is_there or model in path:
                continue
            try:
                self._load_needed(model, None, path)
                self._load_one(model, force=False, override=None)
            except _core.Error as error:
                _log.warning("model '%s', which pipeline '%s' needs, was not loaded: %s", model, name, error)

    def _needed(self, name: str, override: Override | None) -> tuple[str, ...]:
        try:
            config = override.config if override else read_config(read_folder(self._root, name))[0]
        except _core.Error:
            return ()
        return models_of(config)

    def _load_those_that_wait(self, name: str) -> None:
        with self._table_lock:
            waiting = [
                n for n, e in self._entries.items() if name in e.needs and e.failures and not e.serving
            ]
        for pipeline in waiting:
            try:
                self.load(pipeline)
            except _core.Error as error:
                _log.warning("model '%s' was not loaded: %s", pipeline, error)

    def _load_one(self, name: str, force: bool, override: Override | None) -> None:
        while True:
            entry = self._entry(name)
            with entry.lock:
                if not self._is_known(name, entry):
                    continue  # unloaded while we waited: what is put into it would be served by nobody
                try:
                    error = self._load(name, entry, force, override)
                except _core.NotFound:
                    self._forget_unless_serving(name, entry)
                    raise
                except _core.Error as failure:
                    entry.failures[0] = str(failure)
                    self._publish()
                    raise
                finally:
                    self._remove_unused(entry)
            if error is not None:
                raise error
            return

    def unload(self, name: str, *, dependents: bool = False) -> None:
        """Take the model out of service, answer what it has accepted, return its memory. Raises NotFound.

        `dependents`: also the models that it is made of, but for those that another pipeline needs.
        """
        with self._table_lock:
            entry = self._entries.get(name)
            needs = entry.needs if entry is not None else ()
        if entry is None:
            raise _core.NotFound(f"model '{name}' is not loaded")
        self._unload_one(name, entry)
        for model in needs if dependents else ():
            with self._table_lock:
                needed = any(model in other.needs for other in self._entries.values())
                is_known = model in self._entries
            if is_known and not needed:
                self.unload(model, dependents=True)

    def _unload_one(self, name: str, entry: _Entry) -> None:
        with entry.lock:
            if not self._is_known(name, entry):
                raise _core.NotFound(f"model '{name}' is not loaded")
            old = [*entry.serving.values(), *entry.lingering]
            entry.serving.clear()
            entry.lingering.clear()
            entry.prints.clear()
            entry.failures.clear()
            with self._table_lock:
                self._entries.pop(name, None)
            self._publish()
            self._retire(old)
            self._remove_unused(entry)

    def close(self) -> None:
        """Take everything out of service, answer what was accepted, return its memory."""
        with self._table_lock:
            entries = dict(self._entries)
        # A pipeline's requests are answered while its models still are there.
        for name in dependents_first({name: entry.needs for name, entry in entries.items()}):
            entry = entries[name]
            with entry.lock:
                old = [*entry.serving.values(), *entry.lingering]
                entry.serving, entry.prints, entry.lingering = {}, {}, []
                entry.failures = {0: "the engine is closed"}  # its name stays known: not a NotFound
                self._publish()
                self._retire(old)
        self._overrides.close()

    def served(self, name: str, version: int | None) -> LoadedVersion:
        """The version in service (the highest, where none is named). Raises NotFound or Unavailable."""
        with self._table_lock:
            entry = self._entries.get(name)
            known = ", ".join(f"'{n}'" for n in sorted(self._entries)) or "none"
            if entry is None:
                raise _core.NotFound(f"model '{name}' is not known; loaded models: {known}")
            return _answering(name, entry, version)

    def serving(self) -> list[LoadedVersion]:
        """Every version in service, by name and version."""
        with self._table_lock:
            entries = [dict(entry.serving) for _, entry in sorted(self._entries.items())]
        return [serving[version] for serving in entries for version in sorted(serving)]

    def index(self) -> list[dict[str, Any]]:
        """One row per known model and version: name, version, state (READY or UNAVAILABLE) and reason."""
        rows: list[dict[str, Any]] = []
        with self._table_lock:
            entries = {name: (e.answering(), e.reasons()) for name, e in self._entries.items()}
        for name, (serving, failures) in sorted(entries.items()):
            for version in sorted({*serving, *failures}):
                state = "READY" if version in serving else "UNAVAILABLE"
                row = {"name": name, "version": version or None, "state": state}
                rows.append({**row, "reason": failures.get(version, "")})
        return rows

    def changing(self) -> set[str]:
        """The names of models that are being loaded at this moment."""
        with self._table_lock:
            return {name for name, entry in self._entries.items() if entry.lock.locked()}

    def known_state(self, name: str) -> dict[int, Fingerprint]:
        """The fingerprints of what is in service, by version."""
        with self._table_lock:
            entry = self._entries.get(name)
            return dict(entry.prints) if entry else {}

    def _entry(self, name: str) -> _Entry:
        with self._table_lock:
            return self._entries.setdefault(name, _Entry())

    def _is_known(self, name: str, entry: _Entry) -> bool:
        with self._table_lock:
            return self._entries.get(name) is entry

    def _forget_unless_serving(self, name: str, entry: _Entry) -> None:
        with self._table_lock:
            if not entry.serving:
                self._entries.pop(name, None)
        self._publish()

    def _read(
        self, name: str, entry: _Entry, override: Override | None
    ) -> tuple[ModelFolder, ModelConfig, list[str]]:
        if override is None or not override.files:
            folder = read_folder(self._root, name)
        elif not is_model_name(name):
            raise _core.NotFound(f"a model cannot be called '{name}'")
        else:
            path = self._overrides.write(override.files)
            entry.folders.add(path)
            folder = folder_at(path, name)
        give_way()
        if override is not None:
            return folder, override.config, list(override.warnings)
        return folder, *read_config(folder)

    def _remove_unused(self, entry: _Entry) -> None:
        used = {loaded.folder.parent for loaded in (*entry.serving.values(), *entry.lingering)}
        for path in entry.folders - used:
            self._overrides.remove(path)
        entry.folders &= used

    def _load(self, name: str, entry: _Entry, force: bool, override: Override | None) -> _core.Error | None:
        folder, config, entry.warnings = self._read(name, entry, override)
        force = force or override is not None
        for warning in entry.warnings:
            _log.warning("model '%s': %s", name, warning)
        wanted = wanted_versions(folder.versions, config.versions)
        serving, prints = dict(entry.serving), dict(entry.prints)
        kept = serving[max(serving)] if serving else None
        failures: dict[int, str] = {}
        first_error: _core.Error | None = None
        for version in wanted:
            path = folder.path / str(version)
            give_way()
            seen = fingerprint(path)
            give_way()
            old = serving.get(version)
            if old is not None and not force and prints[version] == seen and old.config == config:
                continue
            try:
                source = Source(name, version, path, config)
                serving[version] = self._load_version(source, entry, kept)
                prints[version] = seen
            except _core.Error as failure:
                error = _without(folder.path, failure) if folder.path in entry.folders else failure
                failures[version] = str(error)
                first_error = first_error or error
        if first_error is None:
            serving = {version: serving[version] for version in wanted}
        retired = [old for v, old in entry.serving.items() if serving.get(v) is not old]
        with self._table_lock:  # in one step: what is told to be READY answers
            entry.serving, entry.failures = serving, failures
            entry.prints = {version: prints[version] for version in serving}
            stateful = [old for old in retired if old.sequences is not None]
            entry.lingering = [*stateful, *entry.lingering]
            self._publish_locked()
        self._retire([old for old in retired if old not in stateful])
        for old in stateful:
            threading.Thread(
                target=self._linger, args=(entry, old), name="falaj-sequences", daemon=True
            ).start()
        return first_error

    def _linger(self, entry: _Entry, old: LoadedVersion) -> None:
        """Take a version out when the sequences that it began have ended."""
        while not old.model.wait_for_sequences(_LINGER_SECONDS):
            with self._table_lock:
                if old not in entry.lingering:
                    return  # taken out of service with all the others
        with self._table_lock:
            if old not in entry.lingering:
                return
            entry.lingering.remove(old)
            self._publish_locked()
        self._retire([old])

    def _load_version(self, source: Source, entry: _Entry, kept: LoadedVersion | None) -> LoadedVersion:
        with self._table_lock:
            needs: Needs = {name: other.needs for name, other in self._entries.items()}
            needs[source.name] = models_of(source.config)
            check_no_circle(source.name, needs)
            entry.needs = needs[source.name]
        if graph_of(source.config) is not None:
            return load_pipeline(self._runtime, source, self.served)
        return load_version(self._runtime, source, self._cores, kept, self._features)

    def _publish(self) -> None:
        with self._table_lock:
            self._publish_locked()

    def _publish_locked(self) -> None:
        # A model's new version may end or begin a pipeline's service.
        for entry in self._entries.values():
            entry.misfits = {}
        pipelines = {name: entry.serving for name, entry in self._entries.items() if entry.needs}
        for name in reversed(dependents_first({name: self._entries[name].needs for name in pipelines})):
            self._entries[name].misfits = misfits(pipelines[name], self._served_locked)
        table = {}
        for name, entry in self._entries.items():
            models = {version: loaded.model for version, loaded in entry.answering().items()}
            lingering = [loaded.model for loaded in entry.lingering]
            table[name] = (models, max(models) if models else None, _reasons(entry), lingering)
        self._runtime.publish(table)

    def _served_locked(self, name: str, version: int | None) -> LoadedVersion:
        entry = self._entries.get(name)
        if entry is None:
            raise _core.Unavailable(f"model '{name}' is not in service: it is not loaded")
        return _answering(name, entry, version)

    @staticmethod
    def _retire(old: list[LoadedVersion]) -> None:
        for loaded in old:
            if not loaded.model.drain(loaded.config.drain_seconds):
                _log.warning(
                    "model '%s' version %d: requests were still running after %s s",
                    loaded.name, loaded.version, loaded.config.drain_seconds,
                )  # fmt: skip
            loaded.model.close()


def _without(folder: Path, error: _core.Error) -> _core.Error:
    """The same failure in the words of whoever sent the files, who did not choose where they were put."""
    return type(error)(str(error).replace(f"{folder}{os.sep}", ""))


def _answering(name: str, entry: _Entry, version: int | None) -> LoadedVersion:
    serving = entry.answering()
    if version is None and serving:
        return serving[max(serving)]
    if version in serving:
        return serving[version]
    if not serving:
        raise _core.Unavailable(f"model '{name}' is not in service: {_reasons(entry)}")
    raise _core.NotFound(
        f"model '{name}' has no version {version} in service; versions in service: {sorted(serving)}"
    )


def _reasons(entry: _Entry) -> str:
    told = entry.reasons().items()
    reasons = [f"version {version}: {why}" if version else why for version, why in told]
    return "; ".join(reasons) or "it was never loaded"

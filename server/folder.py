"""Reads the model repository's folders: which models and versions are there, what changed since."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from falaj._core import NotFound
from falaj.server.errors import ConfigError
from falaj.server.model_config import ModelConfig, VersionPolicy, load_model_toml
from falaj.server.pipeline_config import FILE, load_pipeline_toml

# A version is a positive integer without leading zeros: `3.tmp`, `.3` and `03` are not versions, so a copy
# under such a name is not looked at until it is renamed.
_VERSION = re.compile(r"[1-9][0-9]*")
# A pipeline has no files of its own, so its folder needs no version folder either.
_ENSEMBLE = re.compile(r'^\s*(platform\s*:\s*["\']ensemble["\']|ensemble_scheduling\b)', re.MULTILINE)

Fingerprint = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class ModelFolder:
    """One model's folder at one moment."""

    name: str
    path: Path
    versions: tuple[int, ...]


def model_names(root: Path) -> list[str]:
    """Names of the folders under `root` that hold at least one version, or a pipeline. Raises NotFound."""
    if not root.is_dir():
        raise NotFound(f"model repository '{root}' is not a folder")
    return sorted(
        entry.name
        for entry in root.iterdir()
        if entry.is_dir() and not entry.name.startswith(".") and _versions(entry)
    )


def read_folder(root: Path, name: str) -> ModelFolder:
    """The model's folder. Raises NotFound where there is none, or none with a version."""
    path = root / name
    if not is_model_name(name) or not path.is_dir():
        raise NotFound(f"model '{name}' has no folder in the repository '{root}'")
    return folder_at(path, name)


def is_model_name(name: str) -> bool:
    """Whether a folder can be called so."""
    return Path(name).name == name and name not in ("", ".", "..") and "\0" not in name


def folder_at(path: Path, name: str) -> ModelFolder:
    """A model's folder, wherever it lies. Raises NotFound where it holds no version."""
    versions = _versions(path)
    if not versions:
        raise NotFound(f"model '{name}': expected version folders (1, 2, ...) in '{path}', found none")
    return ModelFolder(name, path, versions)


def _versions(path: Path) -> tuple[int, ...]:
    with os.scandir(path) as entries:
        found = tuple(sorted(int(e.name) for e in entries if _VERSION.fullmatch(e.name) and e.is_dir()))
    return found if found or not _is_pipeline(path) else (1,)


def _is_pipeline(path: Path) -> bool:
    if (path / FILE).is_file():
        return True
    try:
        return _ENSEMBLE.search((path / "config.pbtxt").read_text(encoding="utf-8")) is not None
    except (OSError, UnicodeDecodeError):
        return False


def read_config(folder: ModelFolder) -> tuple[ModelConfig, list[str]]:
    """The model's configuration and warnings about it. `pipeline.toml` wins over `model.toml`, and that over
    `config.pbtxt`; all are optional. Raises ConfigError."""
    toml, pbtxt = folder.path / "model.toml", folder.path / "config.pbtxt"
    pipeline = folder.path / FILE
    if pipeline.is_file():
        beside = [f"{path} is ignored beside {FILE}" for path in (toml, pbtxt) if path.is_file()]
        return load_pipeline_toml(pipeline), beside
    if toml.is_file():
        warnings = [f"{pbtxt} is ignored beside model.toml"] if pbtxt.is_file() else []
        return load_model_toml(toml), warnings
    if pbtxt.is_file():
        # protobuf is heavy to import and most repositories have no such file.
        from falaj.server.triton_config import load_config_pbtxt

        return load_config_pbtxt(pbtxt, folder.name)
    return ModelConfig(), []


def wanted_versions(available: tuple[int, ...], policy: VersionPolicy) -> tuple[int, ...]:
    """The versions that the policy asks for. Raises ConfigError where a specific one is not there."""
    if policy.policy == "all":
        return available
    if policy.policy == "latest":
        return available[-policy.n :]
    missing = [version for version in policy.list if version not in available]
    if missing:
        raise ConfigError(f"`versions.list`: version {missing[0]} is not there, there are {list(available)}")
    return tuple(sorted(policy.list))


def fingerprint(path: Path) -> Fingerprint:
    """Name, size and modification time (ns) of every file under `path`; equal means unchanged."""
    files = []
    for folder, names, leaves in os.walk(path):
        names[:] = [name for name in names if name != "__pycache__"]
        for leaf in leaves:
            file = os.path.join(folder, leaf)
            try:
                stat = os.stat(file)
            except OSError:
                continue  # went away while we looked: the next look will differ
            files.append((os.path.relpath(file, path), stat.st_size, stat.st_mtime_ns))
    return tuple(sorted(files))

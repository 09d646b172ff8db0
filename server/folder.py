"""Reads the model repository's folders: which models and versions are there, what changed since."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from falaj._core import InvalidInput, NotFound
from falaj.server.errors import ConfigError
from falaj.server.model_config import ModelConfig, VersionPolicy, load_model_toml

# A version is a positive integer without leading zeros: `3.tmp`, `.3` and `03` are not versions, so a copy
# under such a name is not looked at until it is renamed.
_VERSION = re.compile(r"[1-9][0-9]*")

Fingerprint = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class ModelFolder:
    """One model's folder at one moment."""

    name: str
    path: Path
    versions: tuple[int, ...]


@dataclass(frozen=True)
class Override:
    """A configuration, and perhaps files, that a client gave in place of the model's folder's."""

    config: ModelConfig
    warnings: tuple[str, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    """`<version>/<name>` to content; where there are any, nothing else of the model's folder is used."""

    def write(self, root: Path, name: str) -> None:
        """Write the files as a model folder under `root`. Raises InvalidInput for a path that is not
        `<version>/<name>`."""
        for path, content in self.files.items():
            parts = path.split("/")
            if len(parts) < 2 or not _VERSION.fullmatch(parts[0]) or any(p in ("", ".", "..") for p in parts):
                raise InvalidInput(f"load: expected file:<version>/<name>, got 'file:{path}'")
            target = root / name / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


def model_names(root: Path) -> list[str]:
    """Names of the folders under `root` that hold at least one version. Raises NotFound."""
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
    if Path(name).name != name or name in ("", ".", "..") or not path.is_dir():
        raise NotFound(f"model '{name}' has no folder in the repository '{root}'")
    versions = _versions(path)
    if not versions:
        raise NotFound(f"model '{name}': expected version folders (1, 2, ...) in '{path}', found none")
    return ModelFolder(name, path, versions)


def _versions(path: Path) -> tuple[int, ...]:
    with os.scandir(path) as entries:
        return tuple(sorted(int(e.name) for e in entries if _VERSION.fullmatch(e.name) and e.is_dir()))


def read_config(folder: ModelFolder) -> tuple[ModelConfig, list[str]]:
    """The model's configuration and warnings about it. `model.toml` wins over `config.pbtxt`; both are
    optional. Raises ConfigError."""
    toml, pbtxt = folder.path / "model.toml", folder.path / "config.pbtxt"
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

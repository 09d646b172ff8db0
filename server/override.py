"""A configuration and files that came with a request, in place of what the repository's folder holds."""

import re
import shutil
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from falaj import _core
from falaj.server.model_config import ModelConfig

_VERSION = re.compile(r"[1-9][0-9]*")
# What file systems take.
_LONGEST_NAME = 255
_DEEPEST = 16


@dataclass(frozen=True)
class Override:
    """How a model is loaded once. The next load without one goes back to the repository's folder."""

    config: ModelConfig
    warnings: tuple[str, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Path in the model's folder, such as "1/model.onnx", to contents. Empty: the repository's files."""

    def __post_init__(self) -> None:
        check_files(self.files)


def check_files(files: Mapping[str, bytes]) -> None:
    """Raise InvalidInput unless every path stays in the model's folder, they fit beside each other, and one
    belongs to a version."""
    paths = {name: PurePosixPath(name) for name in files}
    for name, path in paths.items():
        parts = name.split("/")
        if len(parts) > _DEEPEST or any(not _is_file_name(part) for part in parts):
            raise _core.InvalidInput(
                f"file '{name[:_LONGEST_NAME]}': expected <version>/<file name>, such as 1/model.onnx"
            )
        inside = next((other for other, taken in paths.items() if path in taken.parents), None)
        if inside is not None:
            raise _core.InvalidInput(f"file '{name}' is the folder of '{inside}'")
    if files and not any(_VERSION.fullmatch(path.parts[0]) and path.parts[1:] for path in paths.values()):
        raise _core.InvalidInput("expected a file of a version, such as 1/model.onnx, among those given")


def _is_file_name(part: str) -> bool:
    if part in ("", ".", "..") or {"\0", "\\"} & set(part):
        return False
    try:
        return len(part.encode("utf-8")) <= _LONGEST_NAME
    except UnicodeEncodeError:  # half a surrogate pair
        return False


class OverrideFolders:
    """Folders for the files of overrides, under one temporary folder that only this user may read.
    Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._root: Path | None = None  # made with the first folder

    def write(self, files: Mapping[str, bytes]) -> Path:
        """Write the files into a new folder and return it. Raises Unavailable where the disk refuses."""
        try:
            folder = Path(tempfile.mkdtemp(dir=self._made_root()))
        except OSError as error:
            raise _core.Unavailable(f"no folder could be made for the files given: {error}") from error
        try:
            for name, content in files.items():
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        except (OSError, ValueError) as error:
            self.remove(folder)
            raise _core.Unavailable(f"the files given could not be written: {error}") from error
        return folder

    def remove(self, folder: Path) -> None:
        """Remove a folder that `write` made."""
        shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Remove all of them."""
        with self._lock:
            root, self._root = self._root, None
        if root is not None:
            self.remove(root)

    def _made_root(self) -> Path:
        with self._lock:
            if self._root is None:
                self._root = Path(tempfile.mkdtemp(prefix="falaj-"))
            return self._root

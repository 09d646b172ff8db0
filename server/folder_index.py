"""What would be served of a repository's folder: an index made without loading a model."""

from pathlib import Path
from typing import Any

from falaj._core import Error
from falaj.server.folder import model_names, read_config, read_folder, wanted_versions
from falaj.server.loader import Source, model_file


def folder_index(root: Path) -> list[dict[str, Any]]:
    """Return a row for each version that a server would load: name, version, state and reason. The state is
    AVAILABLE, or UNAVAILABLE where its configuration or model file is wrong. Raises NotFound."""
    rows: list[dict[str, Any]] = []
    for name in model_names(root):
        try:
            folder = read_folder(root, name)
            config, _ = read_config(folder)
            versions = wanted_versions(folder.versions, config.versions)
        except Error as error:
            rows.append(_row(name, None, str(error)))
            continue
        for version in versions:
            try:
                model_file(Source(name, version, folder.path / str(version), config))
            except Error as error:
                rows.append(_row(name, version, str(error)))
            else:
                rows.append(_row(name, version, ""))
    return rows


def _row(name: str, version: int | None, reason: str) -> dict[str, Any]:
    state = "UNAVAILABLE" if reason else "AVAILABLE"
    return {"name": name, "version": version, "state": state, "reason": reason}

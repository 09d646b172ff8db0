"""Where a model lies, and the version that a variant of it becomes."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from falaj.features.binding import BUNDLE, read_parts
from falaj.features.durable import put
from falaj.features.errors import DefinitionError
from falaj.training.errors import TrainingError
from falaj.training.next_version import is_version, versions_of, write_next_version
from falaj.training.optimize.report import Report

if TYPE_CHECKING:
    from onnx import ModelProto

_MODEL = "model.onnx"


@dataclass(frozen=True)
class Target:
    """A model's file; `version` is its folder where it is one of a repository."""

    file: Path
    version: Path | None

    def bundle(self) -> dict[str, Any] | None:
        """Read its `bundle.json`; None where it has none. Raises TrainingError."""
        if self.version is None:
            return None
        try:
            return read_parts(self.version)
        except DefinitionError as error:
            raise TrainingError(str(error)) from error


def target_at(path: Path) -> Target:
    """Find the model: a file, a version's folder, or a model's, whose highest version it is.

    Raises:
        TrainingError: There is none.
    """
    if path.is_file():
        return Target(path, _version(path.parent) if path.name == _MODEL else None)
    versions = [int(each.name) for each in versions_of(path)]
    folder = path / str(max(versions)) if versions else path
    if not (folder / _MODEL).is_file():
        raise TrainingError(
            f"{path}: expected a file of a model, a version's folder with {_MODEL}, or a model's folder"
        )
    return Target(folder / _MODEL, _version(folder))


def write_file(model: "ModelProto", path: Path) -> None:
    """Write a model to a file that is not there yet, whole or not at all. Raises TrainingError."""
    if path.exists():
        raise TrainingError(f"{path}: is there already")
    made = path.with_name(f".{path.name}.new")
    try:
        made.write_bytes(model.SerializeToString())
        put(made, path)
    except OSError as error:
        raise TrainingError(f"{path}: cannot be written: {error}") from error


def write_version(target: Target, model: "ModelProto", report: Report) -> Path:
    """Write the variant as the version after the highest, and return its folder.

    It has every file of the version that it was made of, and a `bundle.json`, where that has one, which also
    tells the model's new hash and the whole report. The folder is there whole or not at all.

    Raises:
        TrainingError: The target is no version, or the disk refuses.
    """
    if target.version is None:
        raise TrainingError(f"{target.file}: is in no version's folder of a repository")
    root = target.version.parent
    try:
        return write_next_version(root, lambda made: _fill(made, target, model, report))
    except OSError as error:
        raise TrainingError(f"{root}: cannot be written: {error}") from error


def _fill(folder: Path, target: Target, model: "ModelProto", report: Report) -> None:
    assert target.version is not None
    content = model.SerializeToString()
    (folder / _MODEL).write_bytes(content)
    for path in target.version.iterdir():
        if path.is_file() and path.name not in (_MODEL, BUNDLE):
            shutil.copyfile(path, folder / path.name)
    bundle = target.bundle()
    if bundle is not None:
        told = _updated(bundle, model, content)
        told["optimized"] = {"of_version": int(target.version.name), **report.plain()}
        text = json.dumps(told, ensure_ascii=False, indent=2, allow_nan=False)
        (folder / BUNDLE).write_text(text + "\n", encoding="utf-8")


def _updated(bundle: Mapping[str, Any], model: "ModelProto", content: bytes) -> dict[str, Any]:
    told = dict(bundle)
    if isinstance(told.get("files"), dict):
        told["files"] = {**told["files"], _MODEL: hashlib.sha256(content).hexdigest()}
    if isinstance(told.get("model"), dict):
        opsets = {opset.domain or "ai.onnx": opset.version for opset in model.opset_import}
        told["model"] = {
            **told["model"],
            "opset": opsets.get("ai.onnx"),
            "ml_opset": opsets.get("ai.onnx.ml"),
            "ir": model.ir_version,
        }
    return told


def _version(folder: Path) -> Path | None:
    """The folder, if it is a version's by its name; told from the root where a relative path hides that."""
    named = folder if folder.name else folder.absolute()
    return named if is_version(named) else None

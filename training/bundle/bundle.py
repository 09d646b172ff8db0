"""A model bundle: a version folder that serves by itself, and tells what it was made of."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from falaj.features.binding import BUNDLE, Binding, read_binding, read_parts, write_binding
from falaj.features.errors import DefinitionError
from falaj.training.bundle.baseline import BASELINE, Baseline
from falaj.training.bundle.bundle_files import hash_of
from falaj.training.bundle.libraries import library_versions
from falaj.training.bundle.snapshot import Snapshot
from falaj.training.errors import TrainingError
from falaj.training.next_version import write_next_version
from falaj.training.original import Original

if TYPE_CHECKING:
    from onnx import ModelProto

FORMAT = 1
MODEL, CARD, PAGE = "model.onnx", "card.md", "card.html"
_ML = "ai.onnx.ml"


@dataclass(frozen=True)
class CardText:
    """A model card, as Markdown and as a page of HTML."""

    markdown: str
    html: str


@dataclass(frozen=True)
class Proof:
    """What is told of how good a model is.

    Attributes:
        parity: The report of the gate, as JSON has it.
        metrics: Each with its name, its part of the data, value and bounds.
    """

    parity: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    metrics: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Bundle:
    """What a version's `bundle.json` tells.

    Attributes:
        files: SHA-256 of every other file, in hex, by name.
        model: Family, task, classes, inputs with their columns, outputs, opsets and IR of the graph.
        binding: What it looks up by itself.
        training: What it was fitted on; None where that was not told.
        versions: Of libraries, by the names of their packages.
        exported_at: In ISO 8601, UTC.
    """

    folder: Path
    files: Mapping[str, str]
    model: Mapping[str, Any]
    binding: Binding | None
    training: Mapping[str, Any] | None
    parity: Mapping[str, Any]
    metrics: Sequence[Mapping[str, Any]]
    versions: Mapping[str, str]
    exported_at: str


def write_bundle(
    repository: Path,
    name: str,
    *,
    original: Original,
    model: "ModelProto",
    baseline: Baseline,
    card: CardText,
    proof: Proof,
    binding: Binding | None = None,
    snapshot: Snapshot | None = None,
    versions: Mapping[str, str] | None = None,
) -> Path:
    """Write the next version of a model, and return its folder.

    The folder is there whole and for good, or not at all: a server that looks at the repository meanwhile
    does not see a part of it. Two exports at once get two versions.

    Args:
        repository: Is made where it is not there.
        versions: Of libraries, as training recorded them; they win over those found here.

    Raises:
        TrainingError: The name cannot be a folder's, the proof is no JSON, or the disk refuses.
    """
    check_model_name(name)
    told = {
        "format": FORMAT,
        "name": name,
        "exported_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": _plain_model(original, model),
        "training": None if snapshot is None else snapshot.plain(),
        "parity": dict(proof.parity),
        "metrics": [dict(metric) for metric in proof.metrics],
        "versions": {**library_versions(original.family), **(versions or {})},
    }
    files = {
        MODEL: model.SerializeToString(),
        BASELINE: baseline.text().encode(),
        CARD: card.markdown.encode(),
        PAGE: card.html.encode(),
    }
    try:
        return write_next_version(repository / name, lambda made: _fill(made, files, told, binding))
    except OSError as error:
        raise TrainingError(f"{repository / name}: cannot be written: {error}") from error


def check_model_name(name: str) -> None:
    """Raise TrainingError where no folder of a repository can be called so."""
    if not name or name.startswith(".") or Path(name).name != name or "\0" in name:
        raise TrainingError(f"model name: expected one that a folder can have, got {name!r}")


def read_bundle(version_folder: Path) -> Bundle:
    """Read what `write_bundle` wrote. Raises TrainingError where it is no bundle of a whole export."""
    where = version_folder / BUNDLE
    try:
        told = read_parts(version_folder)
        if told is None:
            raise TrainingError(f"{where}: no such file")
        if told.get("format") != FORMAT:
            raise TrainingError(f"{where}: format: expected {FORMAT}, got {told.get('format')!r}")
        return Bundle(
            folder=version_folder,
            binding=read_binding(version_folder),
            **{
                name: told[name]
                for name in ("files", "model", "training", "parity", "metrics", "versions", "exported_at")
            },
        )
    except DefinitionError as error:
        raise TrainingError(str(error)) from error
    except KeyError as error:
        raise TrainingError(f"{where}: expected {error.args[0]!r}, which is not there") from error


def _fill(folder: Path, files: Mapping[str, bytes], told: Mapping[str, Any], binding: Binding | None) -> None:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    hashes = {name: hash_of(folder / name) for name in sorted(files)}
    try:
        text = json.dumps({**told, "files": hashes}, ensure_ascii=False, indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise TrainingError(f"{BUNDLE}: expected what JSON can tell: {error}") from error
    (folder / BUNDLE).write_text(text + "\n", encoding="utf-8")
    if binding is not None:
        write_binding(folder, binding)


def _plain_model(original: Original, model: "ModelProto") -> dict[str, Any]:
    opsets = {opset.domain or "ai.onnx": opset.version for opset in model.opset_import}
    return {
        "family": original.family,
        "task": original.task,
        "origin": original.origin,
        "classes": list(original.classes),
        "inputs": [
            {
                "name": each.name,
                "datatype": each.datatype,
                "shape": [-1, *each.shape],
                "columns": list(each.columns),
            }
            for each in original.inputs
        ],
        "outputs": [
            {"name": each.name, "datatype": each.datatype, "shape": [-1, *each.shape], "role": each.role}
            for each in original.outputs
        ],
        "opset": opsets.get("ai.onnx"),
        "ml_opset": opsets.get(_ML),
        "ir": model.ir_version,
    }

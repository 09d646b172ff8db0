"""Which columns of views the models of a repository take, as far as the models tell."""

import json
from dataclasses import dataclass
from pathlib import Path

from falaj.features.binding import BUNDLE, Binding, read_binding
from falaj.features.errors import DataError

_MODEL = "model.onnx"


@dataclass(frozen=True)
class ModelInputs:
    """A version of a model.

    Attributes:
        inputs: Names of its inputs; that of a view's column is `<view>__<column>`, as in a training set.
        transforms: Names of the transforms in it.
        binding: What it looks up by itself.
    """

    model: str
    version: int
    inputs: tuple[str, ...]
    transforms: tuple[str, ...]
    binding: Binding | None = None


def models_in(repository: Path) -> list[ModelInputs]:
    """Return every version that has a `model.onnx` or a `bundle.json`, by name and version.

    Raises:
        DataError: There is no such folder, a model cannot be read, or the extra `transforms` is missing.
        DefinitionError: A bundle cannot be read.
    """
    if not repository.is_dir():
        raise DataError(f"{repository}: no such folder")
    found = {path.parent for name in (_MODEL, BUNDLE) for path in repository.glob(f"*/*/{name}")}
    versions = [folder for folder in found if folder.name.isdecimal()]
    return [_read(folder) for folder in sorted(versions, key=lambda it: (it.parent.name, int(it.name)))]


def inputs_of(folder: Path) -> tuple[str, ...]:
    """Return the names of the inputs of a version's `model.onnx`. Raises DataError where it is none."""
    return _read_model(folder / _MODEL)[0]


def _read(folder: Path) -> ModelInputs:
    inputs, transforms = _read_model(folder / _MODEL) if (folder / _MODEL).exists() else ((), ())
    return ModelInputs(folder.parent.name, int(folder.name), inputs, transforms, read_binding(folder))


def _read_model(path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    try:
        import onnx
    except ImportError as error:
        raise DataError("models are read with the extra `transforms`, which is not installed") from error
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except (OSError, DecodeError) as error:
        raise DataError(f"{path}: {error}") from error
    told = {entry.key: entry.value for entry in model.metadata_props}
    try:
        transforms = tuple(json.loads(told.get("falaj.transforms", "{}")))
    except ValueError as error:
        raise DataError(f"{path}: falaj.transforms: {error}") from error
    return tuple(each.name for each in model.graph.input), transforms

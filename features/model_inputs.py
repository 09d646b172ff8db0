"""Which columns of views the models of a repository take, as far as the models tell."""

import json
from dataclasses import dataclass
from pathlib import Path

from falaj.features.errors import DataError


@dataclass(frozen=True)
class ModelInputs:
    """A version of a model.

    Attributes:
        inputs: Names of its inputs; that of a view's column is `<view>__<column>`, as in a training set.
        transforms: Names of the transforms in it.
    """

    model: str
    version: int
    inputs: tuple[str, ...]
    transforms: tuple[str, ...]


def models_in(repository: Path) -> list[ModelInputs]:
    """Return every version that has a `model.onnx`, by name and version.

    Raises:
        DataError: There is no such folder, a model cannot be read, or the extra `transforms` is missing.
    """
    if not repository.is_dir():
        raise DataError(f"{repository}: no such folder")
    found = [path for path in repository.glob("*/*/model.onnx") if path.parent.name.isdecimal()]
    ordered = sorted(found, key=lambda path: (path.parts[-3], int(path.parts[-2])))
    return [_read(path) for path in ordered]


def _read(path: Path) -> ModelInputs:
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
    inputs = tuple(each.name for each in model.graph.input)
    return ModelInputs(path.parts[-3], int(path.parts[-2]), inputs, transforms)

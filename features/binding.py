"""Which features a model looks up by itself: the part `features` of a model version's `bundle.json`."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from falaj.features.datatypes import DUCKDB_TYPES
from falaj.features.entity import check_name
from falaj.features.errors import DefinitionError
from falaj.features.identity import Plain, content_hash, meaning, view_of
from falaj.features.view import View

BUNDLE = "bundle.json"
OnMissing = Literal["default", "nan", "reject"]
_ON_MISSING: tuple[OnMissing, ...] = ("default", "nan", "reject")
_LONGEST_BUDGET_MS = 60_000
_LONGEST_STALENESS_MS = 86_400_000  # a day


def as_on_missing(text: str) -> OnMissing:
    """Return the text as what it is one of. Raises DefinitionError."""
    for known in _ON_MISSING:
        if known == text:
            return known
    raise DefinitionError(f"on_missing: expected {', '.join(_ON_MISSING)}, got {text!r}")


@dataclass(frozen=True)
class BoundView:
    """A view that a model's features are of.

    Args:
        on_missing: What serves where an entity has no row, or an expired one: `default`, each column's own,
            and NaN where it has none; `nan`; or `reject`: the request is refused.
        budget_ms: How long a batch waits for a shared store; None: as long as the store's URL says. A store
            on this machine is not waited for.
        max_staleness_ms: What a shared store told may serve so long when it does not answer; 0: not at all.

    Raises:
        DefinitionError: A time is out of range.
    """

    view: View
    on_missing: OnMissing = "default"
    budget_ms: float | None = None
    max_staleness_ms: float = 0

    def __post_init__(self) -> None:
        if self.budget_ms is not None and not 0.001 <= self.budget_ms <= _LONGEST_BUDGET_MS:
            raise DefinitionError(
                f"{self.view}: budget_ms: expected 0.001 to {_LONGEST_BUDGET_MS}, got {self.budget_ms}"
            )
        if not 0 <= self.max_staleness_ms <= _LONGEST_STALENESS_MS:
            raise DefinitionError(
                f"{self.view}: max_staleness_ms: expected 0 to {_LONGEST_STALENESS_MS}, "
                f"got {self.max_staleness_ms}"
            )


@dataclass(frozen=True)
class Feature:
    """A column of a view, by their names; as `view__column` it is known to clients."""

    view: str
    column: str

    def __str__(self) -> str:
        return f"{self.view}__{self.column}"


@dataclass(frozen=True)
class RequestValue:
    """A value that requests bring, as an input of their own of shape [rows, 1]."""

    name: str
    datatype: str

    def __str__(self) -> str:
        return f"{self.name}:{self.datatype}"


@dataclass(frozen=True)
class BoundInput:
    """An input of the model that is put together: its columns, from left to right."""

    name: str
    columns: tuple[Feature | RequestValue, ...]


@dataclass(frozen=True)
class Binding:
    """All that a model looks up, and where it goes. Inputs that are not named are brought by requests.

    Raises:
        DefinitionError: A column is of a view that is not there, or a view is there twice.
    """

    views: tuple[BoundView, ...]
    inputs: tuple[BoundInput, ...]

    def __post_init__(self) -> None:
        columns: dict[str, list[str]] = {}
        for bound in self.views:
            if bound.view.name in columns:
                raise DefinitionError(f"{bound.view}: another version of it is bound already")
            columns[bound.view.name] = [column.name for column in bound.view.features]
        for feature in self.features:
            if feature.view not in columns:
                there = ", ".join(columns) or "none"
                raise DefinitionError(f"{feature}: no view {feature.view!r} is bound; there are: {there}")
            if feature.column not in columns[feature.view]:
                there = ", ".join(columns[feature.view])
                raise DefinitionError(f"{feature}: view {feature.view!r} has no such column, it has: {there}")
        for bound in self.views:
            if all(feature.view != bound.view.name for feature in self.features):
                raise DefinitionError(f"{bound.view}: is bound, and no input has a column of it")

    @property
    def features(self) -> tuple[Feature, ...]:
        """Each feature once, in the order of the inputs."""
        columns = [column for bound in self.inputs for column in bound.columns]
        return tuple(dict.fromkeys(column for column in columns if isinstance(column, Feature)))


def bind_all(views: Sequence[BoundView], name: str) -> Binding:
    """Bind all columns of views, in order, to the one input of that name."""
    columns = [Feature(each.view.name, column.name) for each in views for column in each.view.features]
    return Binding(tuple(views), (BoundInput(name, tuple(columns)),))


def bind_by_name(views: Sequence[BoundView], names: Sequence[str]) -> Binding:
    """Bind each input of a model that is named for a feature to it; the others are brought by requests.

    Args:
        names: Of the model's inputs.

    Raises:
        DefinitionError: Of a view no feature is among them.
    """
    features = {str(Feature(of.view.name, column.name)) for of in views for column in of.view.features}
    bound = [BoundInput(name, (_column_from(name),)) for name in names if name in features]
    for view in (each.view for each in views):
        if not any(name in features and name.startswith(f"{view.name}__") for name in names):
            there = f"the model has {', '.join(names) or 'none'}"
            raise DefinitionError(f"{view}: expected an input {view.name}__COLUMN, or --input; {there}")
    return Binding(tuple(views), tuple(bound))


def binding_from(views: Sequence[BoundView], inputs: Sequence[str]) -> Binding:
    """Return what texts say of a model's inputs.

    Args:
        inputs: `x=account__income,amount:FP32` tells the columns of the input `x`: features, and values of
            requests with their datatypes. `x` alone is all columns of all views, in order.

    Raises:
        DefinitionError: One cannot be read, or names what is not there.
    """
    bound: list[BoundInput] = []
    for text in inputs:
        name, told, columns = text.partition("=")
        if not told:
            bound += bind_all(views, name).inputs
            continue
        bound.append(BoundInput(name, tuple(_column_from(each.strip()) for each in columns.split(","))))
    return Binding(tuple(views), tuple(bound))


def _column_from(text: str) -> Feature | RequestValue:
    name, colon, datatype = text.partition(":")
    if colon:
        return _request_value(name, datatype)
    view, parts, column = text.partition("__")
    if not parts:
        raise DefinitionError(f"{text!r}: expected VIEW__COLUMN, or NAME:DATATYPE of a request's value")
    return Feature(view, column)


def _request_value(name: str, datatype: str) -> RequestValue:
    value = RequestValue(name, datatype)
    if datatype not in DUCKDB_TYPES:
        raise DefinitionError(f"{value}: expected one of {', '.join(DUCKDB_TYPES)}, got {datatype!r}")
    check_name(name, str(value))
    return value


def write_binding(version_folder: Path, binding: Binding) -> None:
    """Put it into the version's `bundle.json`, whose other parts stay as they are.

    Raises:
        DefinitionError: No such folder, or its bundle cannot be read.
    """
    if not version_folder.is_dir():
        raise DefinitionError(f"{version_folder}: no such folder of a model version")
    bundle = read_parts(version_folder) or {}
    bundle["features"] = _plain(binding)
    written = version_folder / f".{BUNDLE}.new"
    written.write_text(json.dumps(bundle, ensure_ascii=False, indent=2) + "\n")
    os.replace(written, version_folder / BUNDLE)


def read_binding(version_folder: Path) -> Binding | None:
    """Return what the version's `bundle.json` binds; None where it binds nothing, or is not there.

    Raises:
        DefinitionError: It cannot be read, or a view in it is not what its hash says.
    """
    bundle = read_parts(version_folder)
    if bundle is None or bundle.get("features") is None:
        return None
    try:
        return _binding_of(bundle["features"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DefinitionError(f"{version_folder / BUNDLE}: features: cannot be read: {error!r}") from error


def read_parts(version_folder: Path) -> dict[str, Any] | None:
    """Return all of the version's `bundle.json`; None where there is none.

    Raises:
        DefinitionError: It cannot be read, or is no object.
    """
    path = version_folder / BUNDLE
    try:
        bundle = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DefinitionError(f"{path}: cannot be read: {error}") from error
    if not isinstance(bundle, dict):
        raise DefinitionError(f"{path}: expected an object, got {type(bundle).__name__}")
    return bundle


def _plain(binding: Binding) -> Plain:
    views: list[Plain] = []
    for bound in binding.views:
        told = meaning(bound.view)
        views.append(
            {
                "definition": told,
                "hash": content_hash(told),
                "on_missing": bound.on_missing,
                "budget_ms": bound.budget_ms,
                "max_staleness_ms": bound.max_staleness_ms,
            }
        )
    inputs = [
        {"name": each.name, "columns": [_plain_column(column) for column in each.columns]}
        for each in binding.inputs
    ]
    return {"views": views, "inputs": inputs}


def _plain_column(column: Feature | RequestValue) -> Plain:
    if isinstance(column, Feature):
        return {"view": column.view, "column": column.column}
    return {"request": column.name, "datatype": column.datatype}


def _binding_of(told: Mapping[str, Any]) -> Binding:
    views = []
    for each in told["views"]:
        if content_hash(each["definition"]) != each["hash"]:
            raise DefinitionError(f"view {each['definition']['name']}: is not what its hash says")
        views.append(
            BoundView(
                view_of(each["definition"]),
                as_on_missing(each["on_missing"]),
                each.get("budget_ms"),
                each.get("max_staleness_ms", 0),
            )
        )
    inputs = [
        BoundInput(str(each["name"]), tuple(_column_of(column) for column in each["columns"]))
        for each in told["inputs"]
    ]
    return Binding(tuple(views), tuple(inputs))


def _column_of(told: Mapping[str, Any]) -> Feature | RequestValue:
    if "view" in told:
        return Feature(str(told["view"]), str(told["column"]))
    return _request_value(str(told["request"]), str(told["datatype"]))

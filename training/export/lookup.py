"""What an exported model looks up: its inputs' columns that are features of views, by their names."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.features.binding import Binding, BoundInput, BoundView, Feature, RequestValue
from falaj.features.datatypes import FLOATS
from falaj.features.entity import check_name
from falaj.features.errors import DefinitionError
from falaj.features.view import View
from falaj.training.bundle.baseline import FeatureRows
from falaj.training.errors import TrainingError
from falaj.training.export.columns import has_columns
from falaj.training.original import ModelInput, Original


def binding_for(original: Original, views: Sequence[BoundView]) -> Binding | None:
    """Bind each input that has a column called `view__column`; its other columns are values of requests.

    Inputs without any are brought by requests whole. Views of which nothing is taken are left out.

    Args:
        views: Such as the training set was made of.

    Returns:
        None where no column is a feature.

    Raises:
        TrainingError: A column beside a feature has a name that no request can bring.
    """
    features = {
        f"{each.view.name}__{column.name}": Feature(each.view.name, column.name)
        for each in views
        for column in each.view.features
    }
    bound = []
    for tensor in original.inputs:
        if not has_columns(tensor) or not any(name in features for name in tensor.columns):
            continue
        columns = [features.get(name) or _brought(name, tensor) for name in tensor.columns]
        bound.append(BoundInput(tensor.name, tuple(columns)))
    taken = {of.view for each in bound for of in each.columns if isinstance(of, Feature)}
    if not taken:
        return None
    try:
        return Binding(tuple(each for each in views if each.view.name in taken), tuple(bound))
    except DefinitionError as error:
        raise TrainingError(f"binding: {error}") from error


def _brought(name: str, tensor: ModelInput) -> RequestValue:
    value = RequestValue(name, tensor.datatype)
    try:
        check_name(name, f"binding: input {tensor.name!r}, {value}")
    except DefinitionError as error:
        raise TrainingError(str(error)) from error
    return value


def check_binding(original: Original, binding: Binding) -> None:
    """Raise TrainingError where a server would refuse a binding for a model (csrc/join/join_plan.cc)."""
    tensors = {each.name: each for each in original.inputs}
    views = {each.view.name: each for each in binding.views}
    for bound in binding.inputs:
        tensor = tensors.get(bound.name)
        if tensor is None:
            there = ", ".join(tensors)
            raise TrainingError(f"binding: the model has no input {bound.name!r}, it has {there}")
        if tensor.shape != (len(bound.columns),):
            raise TrainingError(
                f"binding: input {bound.name!r}: expected [rows, {len(bound.columns)}], "
                f"the model's is {['rows', *tensor.shape]}"
            )
        for of in bound.columns:
            if isinstance(of, Feature):
                _check_feature(of, views[of.view], tensor)
            else:
                _check_type(str(of), of.datatype, tensor)


def _check_feature(of: Feature, bound: BoundView, tensor: ModelInput) -> None:
    (column,) = (each for each in bound.view.features if each.name == of.column)
    _check_type(str(of), column.datatype, tensor)
    if tensor.datatype in FLOATS:
        return
    if column.default is None:
        raise TrainingError(
            f"binding: {of}: has no default, and input {tensor.name!r} of {tensor.datatype} has no NaN: give "
            "the column one, which is a new version of the view"
        )
    if bound.on_missing == "nan":
        raise TrainingError(
            f"binding: {of}: is bound with nan where it is missing, and input {tensor.name!r} of "
            f"{tensor.datatype} has no NaN"
        )


def _check_type(name: str, datatype: str, tensor: ModelInput) -> None:
    is_number = datatype != "BYTES"
    if datatype != tensor.datatype and not (tensor.datatype in FLOATS and is_number):
        raise TrainingError(
            f"binding: {name}: is {datatype}, which input {tensor.name!r} of {tensor.datatype} cannot have"
        )


def feature_rows(
    binding: Binding, columns: Mapping[str, tuple[NDArray[Any], NDArray[np.bool_]]]
) -> tuple[FeatureRows, ...]:
    """Return what a feature export tells of the features that a model looks up.

    Args:
        columns: Values and which of them are null, by the export's names; with the views' statuses. Features
            whose column or status is not among them are left out.
    """
    views: dict[str, View] = {each.view.name: each.view for each in binding.views}
    found = []
    for of in binding.features:
        view, status = views[of.view], f"{of.view}__status"
        if str(of) not in columns or status not in columns:
            continue
        (column,) = (each for each in view.features if each.name == of.column)
        values, nulls = columns[str(of)]
        found.append(
            FeatureRows(
                view.name, view.version, column.name, column.datatype, columns[status][0], values, nulls
            )
        )
    return tuple(found)

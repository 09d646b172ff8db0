"""A model behind transforms that run with it at request time: the original, and the graph."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from falaj.features.errors import DefinitionError
from falaj.features.transform import Transform
from falaj.features.transform.program import NUMBERS, Program, Step
from falaj.training.errors import TrainingError
from falaj.training.export.columns import has_columns
from falaj.training.original import Arrays, ModelInput, Original, Thresholds

if TYPE_CHECKING:
    from onnx import ModelProto


def transformed_original(original: Original, transforms: Sequence[Transform]) -> Original:
    """Return the model as one that takes what the transforms take, instead of what they give.

    Columns of a matrix that a transform gives are not in it any more. One that a transform takes is an input
    of its own, of shape (1,), for both; where the transform takes it with another datatype, the input has
    that, and is cast for the model. `predict` runs the transforms themselves, not their graph.

    Raises:
        TrainingError: A column is taken with two datatypes, or a transform gives what nothing takes.
    """
    front = _front(original, transforms)

    def predict(rows: Arrays) -> dict[str, NDArray[Any]]:
        return front.original.predict(front.before(rows))

    inputs = front.inputs()
    return replace(
        original,
        inputs=tuple(inputs.values()),
        predict=predict,
        thresholds=tuple(front.thresholds()),
        categories={name: values for name, values in original.categories.items() if name in inputs},
    )


def transformed_model(
    model: "ModelProto", original: Original, transforms: Sequence[Transform]
) -> "ModelProto":
    """Return a graph with the transforms in front.

    Args:
        original: Of the graph, without the transforms.

    Raises:
        TrainingError: They do not fit each other.
    """
    from falaj.features.transform.fuse import fuse
    from falaj.features.transform.split import split_matrix

    front = _front(original, transforms)
    try:
        for tensor in front.original.inputs:
            if apart := front.apart(tensor):
                model, _ = split_matrix(model, tensor.name, tensor.columns, apart)
        return fuse(model, front.transforms)
    except DefinitionError as error:
        raise TrainingError(f"transforms: {error}") from error


@dataclass(frozen=True)
class _Front:
    """A model and what is before it.

    Attributes:
        original: Whose columns have the names under which transforms, and casts, give them.
        transforms: With the casts, which come last.
    """

    original: Original
    transforms: tuple[Transform, ...]

    @property
    def given(self) -> set[str]:
        return {name for each in self.transforms for name in each.outputs}

    @property
    def taken(self) -> dict[str, str]:
        """What transforms take that none gives, with datatypes."""
        given = self.given
        return {
            name: datatype
            for each in self.transforms
            for name, datatype in each.inputs.items()
            if name not in given
        }

    def apart(self, tensor: ModelInput) -> tuple[str, ...]:
        """The columns of a matrix that come from elsewhere; of an input that is one column whole, none."""
        if not has_columns(tensor) or tensor.columns == (tensor.name,):
            return ()
        elsewhere = {*self.given, *self.taken}
        return tuple(name for name in tensor.columns if name in elsewhere)

    def inputs(self) -> dict[str, ModelInput]:
        """What requests bring, or look-ups give."""
        made = {name: ModelInput(name, of, (1,), (name,)) for name, of in self.taken.items()}
        for tensor in self.original.inputs:
            apart = self.apart(tensor)
            rest = tuple(name for name in tensor.columns if name not in apart)
            if apart:
                tensor = replace(tensor, shape=(len(rest),), columns=rest)
            if (apart and not rest) or tensor.name in self.given:
                continue
            known = made.setdefault(tensor.name, tensor)
            if (known.datatype, known.shape) != (tensor.datatype, tensor.shape):
                raise TrainingError(
                    f"transforms: {tensor.name!r}: is taken as {known.datatype} {['rows', *known.shape]}, "
                    f"by the model as {tensor.datatype} {['rows', *tensor.shape]}"
                )
        return made

    def before(self, rows: Arrays) -> dict[str, NDArray[Any]]:
        """What the model itself is given, where these rows come."""
        columns = {name: rows[name].reshape(len(rows[name])) for name in self.taken}
        for each in self.transforms:
            columns.update(each(**{name: columns[name] for name in each.inputs}))
        made: dict[str, NDArray[Any]] = {}
        for tensor in self.original.inputs:
            apart = self.apart(tensor)
            if apart:
                rest = [name for name in tensor.columns if name not in apart]
                parts = {name: rows[tensor.name][:, i] for i, name in enumerate(rest)}
                parts |= {name: columns[name] for name in apart}
                made[tensor.name] = np.stack([parts[name] for name in tensor.columns], axis=1)
            elif tensor.name in self.given:
                made[tensor.name] = columns[tensor.name].reshape(-1, *tensor.shape)
            else:
                made[tensor.name] = rows[tensor.name]
        return made

    def thresholds(self) -> list[Thresholds]:
        """Those of columns that are still inputs."""
        tensors, given, kept = {each.name: each for each in self.original.inputs}, self.given, []
        for each in self.original.thresholds:
            tensor = tensors[each.input]
            apart = self.apart(tensor)
            if not apart:
                kept += [] if each.input in given else [each]
                continue
            name = tensor.columns[each.column]
            if name in apart:
                kept += [] if name in given else [replace(each, input=name, column=0)]
            else:
                rest = [column for column in tensor.columns if column not in apart]
                kept.append(replace(each, column=rest.index(name)))
        return kept


def _front(original: Original, transforms: Sequence[Transform]) -> _Front:
    """The parts, with casts of columns that a transform takes with another datatype than the model."""
    plain = _Front(original, tuple(transforms))
    known = {name for each in original.inputs for name in (each.name, *each.columns)}
    known |= {name for each in transforms for name in each.inputs}
    for each in transforms:
        for name in each.outputs:
            if name not in known:
                raise TrainingError(f"{each}: gives {name!r}, which neither the model nor a transform takes")
    casts: list[Transform] = []
    inputs = []
    for tensor in original.inputs:
        columns = list(tensor.columns)
        for name in plain.apart(tensor):
            datatype = plain.taken.get(name, tensor.datatype)
            if datatype != tensor.datatype:
                cast = _cast(name, datatype, tensor)
                columns[columns.index(name)] = cast.name
                casts.append(cast)
        inputs.append(replace(tensor, columns=tuple(columns)))
    return _Front(replace(original, inputs=tuple(inputs)), (*transforms, *casts))


def _cast(name: str, datatype: str, tensor: ModelInput) -> Transform:
    if datatype not in NUMBERS or tensor.datatype not in NUMBERS:
        told = f"is taken as {datatype}, by input {tensor.name!r} as {tensor.datatype}"
        raise TrainingError(f"transforms: {name!r}: {told}")
    made = f"{name}_as_{tensor.datatype.lower()}"
    return Transform(
        made, Program(((name, datatype),), (Step("astype", (0,), tensor.datatype),), ((made, 1),))
    )

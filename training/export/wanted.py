"""What whoever exports a model says of it beside the model."""

from collections.abc import Sequence
from dataclasses import dataclass

from falaj.features.binding import Binding, BoundView, OnMissing, binding_from
from falaj.features.errors import DefinitionError
from falaj.features.identity import view_of
from falaj.features.offline.manifest import Manifest
from falaj.features.transform import Transform
from falaj.training.errors import TrainingError
from falaj.training.export.columns import column_names
from falaj.training.export.lookup import binding_for
from falaj.training.original import Original


@dataclass(frozen=True)
class Wanted:
    """What whoever exports says of it.

    Attributes:
        views: To be bound; None: those of the feature export that the model was fitted on, if it was.
        inputs: Texts that tell the columns of inputs, see `binding_from`; none: names tell them.
        on_missing: None: as training had it.
        transforms: None: those of the feature export that give what the model takes.
    """

    views: Sequence[BoundView] | None = None
    inputs: Sequence[str] = ()
    on_missing: OnMissing | None = None
    transforms: Sequence[Transform] | None = None
    purpose: str = ""
    owner: str = ""


def bound(
    served: Original, manifest: Manifest | None, wanted: Wanted, on_missing: OnMissing
) -> Binding | None:
    """Return what a model looks up. Raises TrainingError where what is wanted does not fit it."""
    views = wanted.views
    if views is None and manifest is not None:
        views = [BoundView(view_of(each.meaning), on_missing) for each in manifest.views]
    if wanted.inputs:
        if not views:
            raise TrainingError("binding: columns are bound, and no views are named")
        try:
            return binding_from(views, wanted.inputs)
        except DefinitionError as error:
            raise TrainingError(f"binding: {error}") from error
    made = None if views is None else binding_for(served, views)
    if made is None and wanted.views:
        names = ", ".join(column_names(served))
        raise TrainingError(f"binding: no column of the model is called VIEW__COLUMN of a view: {names}")
    return made


def transforms_of(manifest: Manifest, original: Original) -> tuple[Transform, ...]:
    """Return the transforms of a feature export that give a model's columns, and those that they need."""
    needed = set(column_names(original))
    kept: list[Transform] = []
    for each in reversed(manifest.transforms):
        made = each.transform()
        if not needed.isdisjoint(made.outputs):
            kept.append(made)
            needed |= made.inputs.keys()
    return tuple(reversed(kept))

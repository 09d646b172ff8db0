"""Scikit-learn's transformers, and what joins them, as nodes of a graph."""

from typing import Any

import numpy as np

from falaj.training.errors import TrainingError
from falaj.training.graph.converter_graph import converted_graph
from falaj.training.graph.graph import Growth
from falaj.training.graph.sklearn_encoders import ENCODERS
from falaj.training.graph.sklearn_frame import Frame, Part, matrix, taken
from falaj.training.graph.sklearn_numbers import NUMBERS
from falaj.training.graph.sklearn_text import TEXT
from falaj.training.graph.target import Target

_WRITTEN = {**NUMBERS, **ENCODERS, **TEXT}


def transform_graph(grow: Growth, transformer: Any, frame: Frame, target: Target) -> Frame:
    """Add a fitted transformer; return what it makes of the columns.

    Those that are written here compute in FP64, as scikit-learn does. Others are left to skl2onnx.

    Raises:
        TrainingError: It cannot be written.
    """
    if isinstance(transformer, str):
        return frame if transformer == "passthrough" else ()
    if transformer is None:
        return frame
    name = type(transformer).__name__
    if type(transformer).__module__.startswith("sklearn."):
        if name == "Pipeline":
            for _, step in transformer.steps:
                frame = transform_graph(grow, step, frame, target)
            return frame
        if name == "ColumnTransformer":
            return _columns(grow, transformer, frame, target)
        if name == "FeatureUnion":
            made = (transform_graph(grow, one, frame, target) for _, one in transformer.transformer_list)
            return tuple(part for of in made for part in of)
        if name in _WRITTEN:
            return _WRITTEN[name](grow, transformer, frame)
    x = matrix(grow, frame, name)
    columns = int(np.sum([part.width for part in frame]))
    made_of, width = converted_graph(grow, transformer, x, columns, target, classes=0)
    return (Part(made_of, width),)


def _columns(grow: Growth, of: Any, frame: Frame, target: Target) -> Frame:
    made: list[Part] = []
    for name, transformer, _ in of.transformers_:
        chosen = list(of._transformer_to_input_indices[name])
        if not chosen or (isinstance(transformer, str) and transformer == "drop"):
            continue
        try:
            made += transform_graph(grow, transformer, taken(grow, frame, chosen), target)
        except TrainingError as error:
            raise TrainingError(f"step {name!r}: {error}") from None
    return tuple(made)

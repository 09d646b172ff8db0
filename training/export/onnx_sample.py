"""A sample's rows as the inputs that an ONNX file names."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.datatypes import dtype_of
from falaj.training.errors import TrainingError
from falaj.training.export.sample import Sample
from falaj.training.library import require


def arrays_for(content: bytes, sample: Sample, origin: str) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Return the arrays of an ONNX model's inputs, and the columns of its one matrix, if it has one.

    A table's columns are the inputs of their names; where there is one input and no such column, all columns
    are its matrix.
    """
    require("onnx", "onnx")
    from google.protobuf.message import DecodeError
    from onnx import TensorProto, helper, load_from_string

    try:
        model = load_from_string(content)
    except DecodeError as error:
        raise TrainingError(f"{origin}: expected an ONNX model: {error}") from None
    weights = {one.name for one in model.graph.initializer}
    told = {
        info.name: int(info.type.tensor_type.elem_type)
        for info in model.graph.input
        if info.name not in weights
    }
    if sample.frame is None:
        return sample.arrays, []
    frame = sample.table()
    if len(told) == 1 and next(iter(told)) not in frame.columns:
        name, element = next(iter(told.items()))
        if element == TensorProto.STRING:
            return {name: frame.fillna("").astype(str).to_numpy(object)}, list(map(str, frame.columns))
        values = sample.matrix().astype(helper.tensor_dtype_to_np_dtype(element))
        return {name: values}, list(map(str, frame.columns))
    made: dict[str, NDArray[Any]] = {}
    for name, element in told.items():
        if name not in frame.columns:
            raise TrainingError(
                f"{sample.origin}: no column {name!r}; it has {', '.join(map(str, frame.columns))}"
            )
        if element == TensorProto.STRING:
            made[name] = frame[name].fillna("").astype(str).to_numpy(dtype_of("BYTES")).reshape(-1, 1)
        else:
            dtype = helper.tensor_dtype_to_np_dtype(element)
            made[name] = np.asarray(frame[name].to_numpy()).astype(dtype).reshape(-1, 1)
    return made, []

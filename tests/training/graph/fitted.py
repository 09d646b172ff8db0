"""A small model of real data, as training has it and as a graph: what exports are tested with."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from falaj.training.original import Arrays, ModelInput, ModelOutput, Original

COLUMNS = ("radius", "texture", "smoothness")
_OF = (0, 1, 4)  # their places in scikit-learn's data


@dataclass(frozen=True)
class Fitted:
    """A logistic regression of tumours, fitted on the first 400 rows.

    Attributes:
        rows, target: Of the rows that it was fitted on; `held` and `held_target` of the others.
    """

    original: Original
    model: onnx.ModelProto
    rows: dict[str, NDArray[Any]]
    target: NDArray[np.int64]
    held: dict[str, NDArray[Any]]
    held_target: NDArray[np.int64]


@cache
def tumours() -> Fitted:
    """Fit it, once in a process."""
    from skl2onnx import to_onnx
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data = load_breast_cancer()
    x = data.data[:, _OF].astype(np.float32)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(x[:400], data.target[:400])

    def predict(inputs: Arrays) -> dict[str, NDArray[Any]]:
        if not len(inputs["x"]):
            return {"label": np.empty(0, np.int64), "probabilities": np.empty((0, 2), np.float32)}
        scores = pipeline.predict_proba(inputs["x"]).astype(np.float32)
        return {"label": pipeline.predict(inputs["x"]).astype(np.int64), "probabilities": scores}

    original = Original(
        family="sklearn",
        task="binary",
        inputs=(ModelInput("x", "FP32", (len(COLUMNS),), COLUMNS),),
        outputs=(
            ModelOutput("label", "INT64", (), "label"),
            ModelOutput("probabilities", "FP32", (2,), "scores"),
        ),
        model=pipeline,
        predict=predict,
        classes=(0, 1),
        origin="tumours.joblib",
    )
    graph = to_onnx(pipeline, [("x", _float_type(len(COLUMNS)))], options={"zipmap": False}, target_opset=18)
    return Fitted(original, graph, {"x": x[:400]}, data.target[:400], {"x": x[400:]}, data.target[400:])


def _float_type(columns: int) -> Any:
    from skl2onnx.common.data_types import FloatTensorType

    return FloatTensorType([None, columns])

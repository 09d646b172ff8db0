"""The model that the pages serve: a classifier of hand-written digits."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.float32]


def train_and_convert(repository: Path) -> tuple[Rows, npt.NDArray[np.int64], Any]:
    """Fit a classifier of hand-written digits (scikit-learn's bundled scans), write it as
    `<repository>/digits/1/model.onnx`; return held-out rows, their labels, and the fitted pipeline."""
    from skl2onnx import to_onnx
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    digits = load_digits()
    rows = digits.data.astype(np.float32)
    train, held_out, labels, held_out_labels = train_test_split(
        rows, digits.target, test_size=0.3, random_state=0, stratify=digits.target
    )
    pipeline = make_pipeline(StandardScaler(), MLPClassifier((64, 64), max_iter=300, random_state=0))
    pipeline.fit(train, labels)
    model = to_onnx(pipeline, train[:1], options={"zipmap": False}, target_opset=18)
    folder = repository / "digits" / "1"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return held_out, held_out_labels.astype(np.int64), pipeline

"""A small net over the scans of digits, in a repository, and rows to ask it with."""

from pathlib import Path

import numpy as np


def add_digits(root: Path, toml: str) -> Path:
    """Write `digits` of version 1, `rows.npz` with `X` and `digit` beside it; return the model's folder."""
    from skl2onnx import to_onnx
    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier

    digits = load_digits()
    x = (digits.data / 16).astype(np.float32)
    net = MLPClassifier((64,), max_iter=300, learning_rate_init=0.01, random_state=0).fit(x, digits.target)
    folder = root / "models" / "digits"
    (folder / "1").mkdir(parents=True)
    graph = to_onnx(net, x[:1], options={"zipmap": False}, target_opset=18)
    (folder / "1" / "model.onnx").write_bytes(graph.SerializeToString())
    if toml:
        (folder / "model.toml").write_text(toml, encoding="utf-8")
    np.savez(root / "rows.npz", X=x[:400], digit=digits.target[:400])
    return folder

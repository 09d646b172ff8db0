"""A repository of models with custom operators."""

from pathlib import Path

import onnx

from tests.extensions.images import batch_classifier, image_classifier
from tests.extensions.texts import text_classifier
from tests.serving import QUICK

# Images come padded with zeros to the longest of a batch, which their decoders do not look at.
_BATCH = """
max_batch_size = 8
[[input]]
name = "image"
pad_axis = 1
"""


def add_models(root: Path) -> Path:
    """Write `text`, `image` and `images`; return the repository."""
    for name, model, toml in (
        ("text", text_classifier(), QUICK),
        ("image", image_classifier(), QUICK),
        ("images", batch_classifier(), _BATCH),
    ):
        add_version(root, name, model, 1)
        (root / name / "model.toml").write_text(toml, encoding="utf-8")
    return root


def add_version(root: Path, name: str, model: onnx.ModelProto, version: int) -> None:
    folder = root / name / str(version)
    folder.mkdir(parents=True)
    onnx.save(model, folder / "model.onnx")

"""Request-time transforms: one definition, run on NumPy for training and as ONNX for serving."""

from falaj.features.transform.declare import Transform, transform

__all__ = ["Transform", "transform"]

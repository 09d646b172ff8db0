"""Which library a model is of."""

from importlib.util import find_spec
from typing import Any

from falaj.training.errors import TrainingError
from falaj.training.original import Family

_EXTRAS = {
    "lightgbm": "boosting",
    "xgboost": "boosting",
    "catboost": "boosting",
    "torch": "torch",
    "onnxscript": "torch",
    "onnxruntime": "cpu",
}


def family_of(model: Any) -> Family:
    """Return the library of a fitted model, by where its class and the classes above it come from.

    Raises:
        TrainingError: It is of none that is known here.
    """
    modules = [of.__module__.split(".")[0] for of in type(model).__mro__]
    families: tuple[Family, ...] = ("lightgbm", "xgboost", "catboost", "torch", "onnx", "sklearn")
    for family in families:
        if family in modules:
            return family
    raise TrainingError(
        f"model: expected one of {', '.join(families)}, got a {type(model).__module__}.{type(model).__name__}"
    )


def require(where: str, *packages: str) -> None:
    """Raise a TrainingError that says how to install the first of them that is missing."""
    for package in packages:
        if find_spec(package) is None:
            extra = _EXTRAS.get(package, "training")
            raise TrainingError(f"{where}: no package {package}: pip install 'falaj[{extra}]'")

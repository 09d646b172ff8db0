"""Which versions of which libraries a model was made with."""

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType

from falaj._core import __version__
from falaj.training.original import Family

_ALL = ("numpy", "onnx", "onnxruntime", "onnxruntime-gpu")
# By the names of their packages; of XGBoost there are two.
_OF: Mapping[Family, tuple[str, ...]] = MappingProxyType(
    {
        "sklearn": ("scikit-learn", "skl2onnx"),
        "xgboost": ("xgboost", "xgboost-cpu"),
        "lightgbm": ("lightgbm",),
        "catboost": ("catboost",),
        "torch": ("torch", "onnxscript"),
        "onnx": (),
    }
)


def library_versions(family: Family) -> dict[str, str]:
    """Return the versions of Falaj, Python and the libraries that a family of models is made with."""
    found = {"falaj": __version__, "python": platform.python_version()}
    for name in (*_ALL, *_OF[family]):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found

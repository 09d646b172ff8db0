"""Which versions of what it stands on Falaj runs with."""

import platform

from falaj import _core
from falaj.training.onnxruntime_library import find_onnxruntime


def versions() -> dict[str, str]:
    """Return the versions of falaj, python and onnxruntime; the last is "none" where it is not installed."""
    try:
        onnxruntime = _core.onnxruntime_version(find_onnxruntime())
    except _core.Unsupported:
        onnxruntime = "none"  # models in Python need none
    return {
        "falaj": _core.__version__,
        "python": platform.python_version(),
        "onnxruntime": onnxruntime,
    }

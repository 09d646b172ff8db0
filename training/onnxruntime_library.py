"""Finds the shared library of the installed onnxruntime or onnxruntime-gpu package."""

import importlib.util
from pathlib import Path

from falaj._core import Unsupported


def find_onnxruntime() -> str:
    """Path of the package's libonnxruntime.so.

    The package itself is not imported: the core opens its own copy of the library, beside which the user's
    `import onnxruntime` works in either order.

    Raises:
        Unsupported: no package is installed, naming what to install.
    """
    spec = importlib.util.find_spec("onnxruntime")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    for folder in folders:
        # libonnxruntime.so.1.32.0, not libonnxruntime_providers_*.so
        found = sorted(Path(folder, "capi").glob("libonnxruntime.so*"))
        if found:
            return str(found[-1])
    raise Unsupported(
        "ONNX Runtime is not installed: pip install 'falaj[cpu]' (onnxruntime) or "
        "'falaj[gpu]' (onnxruntime-gpu), version 1.23 or newer"
    )

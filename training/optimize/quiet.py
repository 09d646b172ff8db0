"""Keeps a library's remarks on its own work off the standard output, which is for the result."""

import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

_WARNINGS, _ERRORS = 2, 3  # ONNX Runtime's severities; the first is what it begins with


@contextmanager
def quantiser_quiet() -> Iterator[None]:
    """Hold back what ONNX Runtime's Python tools print, log on the root logger, and warn of.

    They come from their packages unimported as yet, so that telemetry is off before the library is opened.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    root, path = logging.getLogger(), list(sys.path)
    root.addFilter(_is_foreign)
    onnxruntime.set_default_logger_severity(_ERRORS)
    try:
        with redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        onnxruntime.set_default_logger_severity(_WARNINGS)
        root.removeFilter(_is_foreign)
        sys.path[:] = path  # onnxruntime.transformers adds its own folder


def without_folder(message: str, folder: Path) -> str:
    """Return what a library says without the folder that its files are in for a while: reports stay."""
    return message.replace(f"{folder}{os.sep}", "")


def _is_foreign(record: logging.LogRecord) -> bool:
    return f"{os.sep}onnxruntime{os.sep}" not in record.pathname

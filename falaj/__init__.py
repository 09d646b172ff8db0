"""Falaj: a model server whose batching core is native, and the same core embedded in your process."""

from falaj._core import (
    Cancelled,
    DeadlineExceeded,
    Error,
    InternalError,
    InvalidInput,
    NotFound,
    Unavailable,
    Unsupported,
    __version__,
)
from falaj.server.engine import Engine

__all__ = [
    "Cancelled",
    "DeadlineExceeded",
    "Engine",
    "Error",
    "InternalError",
    "InvalidInput",
    "NotFound",
    "Unavailable",
    "Unsupported",
    "__version__",
]

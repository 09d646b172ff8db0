"""What the figures of a report hold for. No host name: reports go with models."""

import platform
from pathlib import Path

from falaj import _core
from falaj.training.onnxruntime_library import find_onnxruntime


def machine() -> dict[str, str]:
    """Return the processor, and the version of ONNX Runtime."""
    return {
        "cpu": processor(),
        "architecture": platform.machine(),
        "onnxruntime": _core.onnxruntime_version(find_onnxruntime()),
    }


def processor() -> str:
    """Return the processor's name as the kernel tells it; `unknown` where nothing does."""
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or "unknown"
    for line in told.splitlines():
        if line.startswith(("model name", "Model")):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"

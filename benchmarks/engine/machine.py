"""What a measurement ran on. No host name: reports are published."""

import os
import platform
from pathlib import Path

import numpy as np
import onnxruntime

import falaj
from falaj import _core


def stamp() -> dict[str, str]:
    """Return the machine and the versions, by name."""
    return {
        "cpu": _cpu_model(),
        "cores": f"{_core.usable_cores()} usable of {os.cpu_count()}",
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load average": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnxruntime": onnxruntime.__version__,
        "falaj": falaj.__version__,
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("model name", "Model")):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"

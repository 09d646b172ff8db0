"""What the load generator ran on. No host name: reports are published."""

import os
import platform
from pathlib import Path

from falaj import _core


def machine() -> dict[str, str]:
    """Return the processor, the cores and the versions, by name."""
    return {
        "cpu": _cpu(),
        "cores": f"{_core.usable_cores()} usable of {os.cpu_count()}",
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load average": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "falaj": _core.__version__,
    }


def _cpu() -> str:
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or "unknown"
    for line in told.splitlines():
        if line.startswith(("model name", "Model")):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"

"""What the load generator ran on. No host name: reports are published."""

import os
import platform

from falaj import _core
from falaj.training.optimize.machine import processor


def machine() -> dict[str, str]:
    """Return the processor, the cores and the versions, by name."""
    return {
        "cpu": processor(),
        "cores": f"{_core.usable_cores()} usable of {os.cpu_count()}",
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load average": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "falaj": _core.__version__,
    }

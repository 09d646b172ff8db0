"""The machine's cores, memory and GPUs, as metrics."""

import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric

_KIB = 1024
_MILLIWATTS = 1000


class Machine:
    """Reads the machine's load. Thread-safe."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._lock = threading.Lock()
        self._last = self._cpu_times()
        self._utilization = 0.0

    def collect(self) -> Iterable[Metric]:
        """Yield the load of cores since the last time, and memory now."""
        with self._lock:
            busy, total = self._cpu_times()
            if total > self._last[1]:
                self._utilization = (busy - self._last[0]) / (total - self._last[1])
                self._last = (busy, total)
            utilization = min(1.0, max(0.0, self._utilization))
        yield GaugeMetricFamily(
            "nv_cpu_utilization",
            "Share of all cores' time that was used since the last look, 0 to 1",
            utilization,
        )
        memory = self._memory()
        yield GaugeMetricFamily("nv_cpu_memory_total_bytes", "Memory of the machine", memory["MemTotal"])
        used = memory["MemTotal"] - memory["MemAvailable"]
        yield GaugeMetricFamily("nv_cpu_memory_used_bytes", "Memory of the machine that is in use", used)

    def _cpu_times(self) -> tuple[int, int]:
        """(used, all) time of all cores since the boot, in ticks."""
        with (self._proc / "stat").open(encoding="ascii") as file:
            fields = [int(field) for field in file.readline().split()[1:9]]  # guests are in user and nice
        total = sum(fields)
        idle, waiting = fields[3], fields[4]
        return total - idle - waiting, total

    def _memory(self) -> dict[str, int]:
        lines = (self._proc / "meminfo").read_text(encoding="ascii").splitlines()
        pairs = (line.split(":") for line in lines)
        return {name: int(value.split()[0]) * _KIB for name, value in pairs}


class Gpus:
    """Asks NVIDIA's management library, where nvidia-ml-py and a driver are there, for each GPU's load."""

    def __init__(self) -> None:
        self._nvml = _find_nvml()

    def collect(self) -> Iterable[Metric]:
        """Yield the load of each GPU; nothing where there is none. What one GPU does not tell is left out."""
        nvml = self._nvml
        if nvml is None:
            return
        gauges = {
            "utilization": ("nv_gpu_utilization", "Share of the time that the GPU was busy, 0 to 1"),
            "total": ("nv_gpu_memory_total_bytes", "Memory of the GPU"),
            "used": ("nv_gpu_memory_used_bytes", "Memory of the GPU that is in use"),
            "power": ("nv_gpu_power_usage", "Watts that the GPU draws"),
        }
        made = {key: GaugeMetricFamily(*about, labels=["gpu_uuid"]) for key, about in gauges.items()}
        for index in range(nvml.nvmlDeviceGetCount()):
            for key, uuid, value in _read_gpu(nvml, index):
                made[key].add_metric([uuid], value)
        yield from made.values()


def _find_nvml() -> Any:
    try:
        import pynvml  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None  # the package without a driver
    return pynvml


def _read_gpu(nvml: Any, index: int) -> Iterable[tuple[str, str, float]]:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    uuid = nvml.nvmlDeviceGetUUID(handle)
    asked: dict[str, Callable[[], float]] = {
        "utilization": lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100,
        "total": lambda: nvml.nvmlDeviceGetMemoryInfo(handle).total,
        "used": lambda: nvml.nvmlDeviceGetMemoryInfo(handle).used,
        "power": lambda: nvml.nvmlDeviceGetPowerUsage(handle) / _MILLIWATTS,
    }
    for key, ask in asked.items():
        try:
            yield key, uuid, ask()
        except nvml.NVMLError:
            continue  # partitions and some vGPUs do not tell

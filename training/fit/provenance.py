"""What a run was made with, and which part of it another run may not repeat."""

import platform
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from falaj.training.fit.spec import Kind

_LIBRARIES = {
    "linear": ("scikit-learn", "scipy", "joblib"),
    "hist_gradient_boosting": ("scikit-learn", "scipy", "joblib"),
    "random_forest": ("scikit-learn", "scipy", "joblib"),
    "lightgbm": ("lightgbm",),
    "xgboost": ("xgboost", "xgboost-cpu"),
    "catboost": ("catboost",),
    "mlp": ("torch",),
    "pipeline": ("scikit-learn", "scipy", "joblib", "pandas", "torch", "lightgbm", "xgboost", "catboost"),
}
_ALWAYS = ("falaj", "numpy", "duckdb", "pyarrow")


def versions(kind: Kind, more: Iterable[str] = ()) -> dict[str, str]:
    """Return the versions of Python and of the libraries that a run uses."""
    found = {"python": platform.python_version()}
    for name in (*_ALWAYS, *_LIBRARIES[kind], *more):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def cpu_model() -> str:
    """Return the processor's name, as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def system() -> str:
    """Return the system and the machine's kind."""
    return f"{platform.system()} {platform.machine()}" if sys.platform else ""


def not_repeatable(kind: Kind, threads: int, workers: int = 1) -> list[str]:
    """Return what another run may not repeat to the bit, and why; empty where there is nothing.

    Of the same seed, data and versions: these are checked where a run is made again.
    """
    told = []
    if kind in ("linear", "mlp", "pipeline"):
        told.append(
            f"{kind}: matrix products choose their order of sums by the processor and the number of threads"
            f" (here {threads}): on another processor, or with another number, the last bits may differ"
        )
    if kind in ("xgboost", "catboost"):
        told.append(
            f"{kind}: sums of histograms are in an order that depends on the number of threads"
            f" (here {threads}): with another number the last bits, and then splits, may differ"
        )
    if workers > 1:
        told.append(
            f"{kind}: {workers} workers shared each batch: one process, as --check has it, comes to the same"
            " but for the last bits, where there is no dropout"
        )
    if kind == "pipeline":
        told.append("pipeline: what `build` makes draws from seeds of its own, if it says so")
    return told

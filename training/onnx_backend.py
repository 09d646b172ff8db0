"""Loads ONNX models: the one place that says with which libraries."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from falaj import _core
from falaj.training.custom_operators import custom_operators
from falaj.training.onnxruntime_library import find_onnxruntime


def load_onnx(
    path: Path,
    *,
    threads: int = 1,
    providers: Sequence[tuple[str, Mapping[str, str]]] = (),
    session: Mapping[str, str] | None = None,
    optimization: str = "all",
    beside_traffic: bool = False,
) -> _core.Backend:
    """Load a model file, with the operators of onnxruntime-extensions where it has some.

    Args:
        threads: Of one run.
        providers: Names of execution providers and their options, the preferred one first.
        session: ONNX Runtime's session config entries.
        optimization: disable, basic, extended or all.
        beside_traffic: Whether this process serves, so that loading has to take what that leaves.

    Raises:
        falaj.InvalidInput: The file cannot be read or loaded.
        falaj.Unsupported: ONNX Runtime, or onnxruntime-extensions where it is needed, is not installed, or
            lacks an operator.
    """
    try:
        library = custom_operators(path)
    except OSError as error:
        raise _core.InvalidInput(f"'{path}' cannot be read: {error}") from error
    runtime = find_onnxruntime()
    entries = session or {}
    return _core.load_onnx(
        runtime, str(path), threads, providers, entries, optimization, beside_traffic, library
    )

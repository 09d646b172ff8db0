"""Asks an export for no rows, in a process of its own where that may end the process.

ONNX Runtime 1.32 calls std::terminate when a GRU or LSTM gets none.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from falaj.training.datatypes import dtype_of
from falaj.training.original import Original

if TYPE_CHECKING:
    import onnx

_MAY_END_IT = frozenset({"GRU", "LSTM"})
_SECONDS = 60


def may_end_the_process(model: "onnx.ModelProto") -> bool:
    """Whether the graph has an operator that is known to end the process when it gets no rows."""
    nodes = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    return any(node.op_type in _MAY_END_IT for node in _with_inner(nodes))


def _with_inner(nodes: Any) -> Iterator[Any]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _with_inner(graph.node)


def why_not_answered(repository: str, model: str, original: Original) -> str:
    """Ask the engine for no rows in another process; return what went wrong there, '' where nothing did."""
    shapes = {given.name: (given.datatype, given.shape) for given in original.inputs}
    command = [sys.executable, "-m", "falaj.training.gate.no_rows", repository, model, json.dumps(shapes)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"a request of none is not answered in {_SECONDS} s"
    if done.returncode < 0:
        return f"a request of none ends the process with signal {-done.returncode}"
    lines = done.stderr.strip().splitlines()
    return f"a request of none fails: {lines[-1] if lines else ''}" if done.returncode else ""


def _ask(repository: str, model: str, shapes: dict[str, tuple[str, list[int]]]) -> None:
    import falaj

    rows = {name: np.empty((0, *shape), dtype_of(datatype)) for name, (datatype, shape) in shapes.items()}
    with falaj.Engine(repository, models=[model], strict=True) as engine:
        engine.infer(model, rows)


if __name__ == "__main__":
    _ask(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))

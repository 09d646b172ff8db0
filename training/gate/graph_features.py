"""What goes into the trees of a graph, and which column of an input each of it follows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.gate.boundaries import FLOATS
from falaj.training.gate.rows import Edit, count, flat, take
from falaj.training.gate.tree_nodes import tree_ensembles
from falaj.training.original import Arrays, Original

if TYPE_CHECKING:
    import onnx

_PROBES = 3  # rows in which a column is changed to see which features follow it
_COLUMNS = 1024  # of an input that are looked at
Matrix = NDArray[Any]


@dataclass(frozen=True)
class Source:
    """Where a feature comes from: one column of an input, as it is or not."""

    input: str
    column: int
    direct: bool


class Graph:
    """What goes into the trees of a graph, and where that comes from."""

    def __init__(self, model: "onnx.ModelProto", original: Original) -> None:
        self.ensembles = tree_ensembles(model)
        self._original = original
        self._tensors = sorted({each.tensor for each in self.ensembles})
        self._session = _session_to(model, self._tensors) if self._tensors else None

    def features(self, rows: Arrays) -> dict[str, Matrix]:
        """Return what the trees take, [rows, features], by the tensors' names."""
        if self._session is None:
            return {}
        given = {each.name: rows[each.name] for each in self._session.get_inputs()}
        return dict(zip(self._tensors, self._session.run(None, given), strict=True))

    def largest_sum(self, rows: Arrays) -> float:
        """Return how large the trees' sums become on some rows."""
        found = self.features(take(rows, slice(0, 512)))
        return max((each.largest_sum(found[each.tensor]) for each in self.ensembles), default=0.0)

    def sources(self, rows: Arrays, rng: np.random.Generator) -> dict[str, dict[int, Source]]:
        """Return by tensor and feature the one column that it follows, where it is one."""
        followed: dict[str, dict[int, list[Source]]] = {tensor: {} for tensor in self._tensors}
        bases = take(rows, rng.integers(0, count(rows), _PROBES))
        before = self.features(bases)
        for given in self._original.inputs:
            width = min(_COLUMNS, flat(rows[given.name]).shape[1])
            edit = _probes(given.name, rows, bases, width, self._original.categories.get(given.name, ()))
            if edit is None:
                continue
            made = edit.rows(bases)
            after = self.features(made)
            for tensor in self._tensors:
                was = before[tensor][edit.base]
                moved = (after[tensor] != was) & ~(np.isnan(after[tensor]) & np.isnan(was))
                for column in np.unique(edit.column).tolist():
                    which = edit.column == column
                    for feature in np.flatnonzero(moved[which].any(axis=0)).tolist():
                        value = flat(made[given.name])[which, column]
                        direct = given.datatype in FLOATS and np.array_equal(
                            after[tensor][which, feature], value.astype(after[tensor].dtype), equal_nan=True
                        )
                        source = Source(given.name, column, direct)
                        followed[tensor].setdefault(feature, []).append(source)
        return {
            tensor: {feature: some[0] for feature, some in features.items() if len(some) == 1}
            for tensor, features in followed.items()
        }


def _probes(name: str, rows: Arrays, bases: Arrays, width: int, categories: Sequence[str]) -> Edit | None:
    """Every column of the bases with another value; of categories, with each."""
    real, probes = flat(rows[name]), count(bases)
    if real.dtype == object:
        values = np.array([*categories, "never seen before"], object)
        columns = np.repeat(np.arange(width), values.size * probes)
        return Edit(
            name,
            np.tile(np.arange(probes), values.size * width),
            columns,
            np.tile(np.repeat(values, probes), width),
        )
    if real.dtype.kind not in "fiu":
        return None
    with np.errstate(invalid="ignore"):
        known = np.where(np.isfinite(real[:, :width]), real[:, :width], 0)
    low, high = known.min(axis=0), known.max(axis=0)
    base = np.repeat(np.arange(probes), width)
    column = np.tile(np.arange(width), probes)
    now = flat(bases[name])[base, column]
    other = np.where(now == high[column], np.where(low == high, high + 1, low)[column], high[column])
    return Edit(name, base, column, other.astype(real.dtype))


def _session_to(model: "onnx.ModelProto", tensors: Sequence[str]) -> Any:
    """A session of ONNX Runtime's own that computes these tensors."""
    import onnx
    import onnxruntime

    cut = onnx.ModelProto()
    cut.CopyFrom(model)
    given = {info.name for info in cut.graph.input}
    del cut.graph.output[:]
    for tensor in tensors:
        if tensor in given:  # ONNX Runtime gives an input as an output only behind a node
            cut.graph.node.append(onnx.helper.make_node("Identity", [tensor], [f"{tensor}/taken"]))
        cut.graph.output.append(onnx.ValueInfoProto(name=f"{tensor}/taken" if tensor in given else tensor))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(cut.SerializeToString(), options, providers=["CPUExecutionProvider"])

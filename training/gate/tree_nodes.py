"""The nodes of a graph's tree ensembles, and which rows come to them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.gate.neighbours import next_above, next_below

if TYPE_CHECKING:
    import onnx

TREES = ("TreeEnsembleClassifier", "TreeEnsembleRegressor", "TreeEnsemble")
_SUMMED = 512  # rows of which leaves are summed to know how large the sums become
_CANDIDATES = 1_000_000  # rows that are looked at for the nodes of an ensemble, all together
Ints = NDArray[np.int64]
Matrix = NDArray[Any]


@dataclass(frozen=True)
class TreeNodes:
    """One ensemble. Nodes are rows of all arrays but `roots`, whatever tree they are of.

    Attributes:
        tensor: What the ensemble takes, by its name in the graph: a matrix of features.
        feature: INT64: which column a node compares.
        value: FP64: with what.
        mode: INT8: how, as a place in MODES.
        yes, no: INT64: the nodes where a row goes on; of leaves themselves.
        missing_yes: BOOL: where a row without a value goes on.
        roots: INT64 [trees].
        weights: FP64 [nodes, targets]: what leaves add.
        members: What a node of BRANCH_MEMBER looks for.
    """

    tensor: str
    feature: Ints
    value: NDArray[np.float64]
    mode: NDArray[np.int8]
    yes: Ints
    no: Ints
    missing_yes: NDArray[np.bool_]
    roots: Ints
    weights: NDArray[np.float64]
    members: Mapping[int, NDArray[np.float32]] = field(default_factory=dict)

    @property
    def branches(self) -> Ints:
        """The nodes that compare."""
        return np.flatnonzero(self.mode != LEAF)

    @cached_property
    def _modes(self) -> list[int]:
        return sorted({int(mode) for mode in np.unique(self.mode)} - {LEAF})

    def next_nodes(self, nodes: Ints, values: Matrix) -> Ints:
        """Return where rows at nodes go, by the values that the nodes look at."""
        value = self.value[nodes].astype(values.dtype)
        goes = np.isnan(values) & self.missing_yes[nodes]
        for mode in self._modes:
            by_mode = self._is_member(nodes, values) if mode == MEMBER else _COMPARISONS[mode](values, value)
            goes |= by_mode if len(self._modes) == 1 else by_mode & (self.mode[nodes] == mode)
        return np.where(goes, self.yes[nodes], self.no[nodes])

    @cached_property
    def _member_keys(self) -> Ints:
        found = [_keys(np.full(some.size, node), some) for node, some in self.members.items()]
        return np.sort(np.concatenate(found)) if found else np.empty(0, np.int64)

    def _is_member(self, nodes: Ints, values: Matrix) -> NDArray[np.bool_]:
        with np.errstate(over="ignore"):  # what FP32 cannot have is a member of nothing
            keys = _keys(nodes, values.astype(np.float32))
        place = np.minimum(np.searchsorted(self._member_keys, keys), self._member_keys.size - 1)
        return np.asarray(self._member_keys[place] == keys)

    def compared_with(self, nodes: Ints) -> tuple[Ints, NDArray[np.float64]]:
        """Return nodes with the numbers that they compare with, a node once for each of its members."""
        numbers = [self.members.get(node, self.value[node : node + 1]) for node in nodes.tolist()]
        sizes = [each.size for each in numbers]
        return np.repeat(nodes, sizes), np.concatenate([np.empty(0), *numbers])

    def paths(self, features: Matrix, tree: int) -> list[Ints]:
        """Return the nodes at which each row of a matrix of features is, level by level, in one tree."""
        every, at = np.arange(features.shape[0]), np.full(features.shape[0], self.roots[tree])
        levels = [at]
        while True:
            after = self.next_nodes(at, features[every, self.feature[at]])
            if np.array_equal(after, at):
                return levels
            levels.append(after)
            at = after

    def visitors(self, features: Matrix, rng: np.random.Generator) -> Ints:
        """Return for each node that compares two rows that come to it, [nodes, 2].

        Of some rows, or of all where they are not many, those to whose leaf it matters most on which side of
        the node's number their value is; one twice where no other comes, and -1 where none does.
        """
        order = rng.permutation(features.shape[0])
        candidates = self._candidates(features[order], max(4, _CANDIDATES // max(1, self.feature.size)))
        node, place = np.nonzero(candidates >= 0)
        row = order[candidates[node, place]]
        matters = np.zeros(candidates.shape)
        matters[node, place] = self._differences(features, node, row)
        best = np.argsort(-np.where(candidates >= 0, matters, -1), axis=1, kind="stable")[:, :2]
        found = np.take_along_axis(candidates, best, axis=1)
        found = np.where(found < 0, found[:, :1], found)
        return np.where(found < 0, -1, order[found])

    def _candidates(self, features: Matrix, most: int) -> Ints:
        """The first rows that come to each node that compares, [nodes, candidates], -1 behind them."""
        most = max(2, min(most, features.shape[0]))
        found = np.full((self.feature.size, most), -1, np.int64)
        for tree in range(self.roots.size):
            for level in self.paths(features, tree):
                going = np.flatnonzero(self.mode[level] != LEAF)
                order = going[np.argsort(level[going], kind="stable")]
                nodes = level[order]
                new = np.ones(nodes.size, bool)
                new[1:] = nodes[1:] != nodes[:-1]
                first = np.maximum.accumulate(np.where(new, np.arange(nodes.size), 0))
                rank = np.arange(nodes.size) - first
                kept = rank < most
                found[nodes[kept], rank[kept]] = order[kept]
        return found

    def _differences(self, features: Matrix, nodes: Ints, rows: Ints) -> NDArray[np.float64]:
        """How much another leaf adds where a row's value is on the other side of its node's number."""
        value = self.value[nodes].astype(features.dtype)
        for at, each in enumerate(nodes.tolist() if self.members else ()):
            value[at] = self.members[each][0] if self.members.get(each, value[:0]).size else value[at]
        beside = value + 0.5  # of what has to be equal
        exact = np.isin(self.mode[nodes], _EXACT)
        two = [next_below(next_below(value)), next_above(next_above(value))]
        ends = []
        for side, exactly in zip(two, (value, beside), strict=True):
            ends.append(self._leaves_from(features, nodes, rows, np.where(exact, exactly, side)))
        changes = np.abs(self.weights[ends[0]] - self.weights[ends[1]])
        return np.asarray(changes.max(axis=1, initial=0.0))

    def _leaves_from(self, features: Matrix, nodes: Ints, rows: Ints, values: Matrix) -> Ints:
        """The leaves that rows at nodes come to, with these values of what the nodes compare."""
        moved, at = self.feature[nodes], nodes
        while True:
            feature = self.feature[at]
            after = self.next_nodes(at, np.where(feature == moved, values, features[rows, feature]))
            if np.array_equal(after, at):
                return at
            at = after

    def largest_sum(self, features: Matrix) -> float:
        """Return how large the sums of leaves become on the way from tree to tree, in some rows."""
        some = features[:_SUMMED]
        total, largest = np.zeros((some.shape[0], self.weights.shape[1])), 0.0
        for tree in range(self.roots.size):
            total += self.weights[self.paths(some, tree)[-1]]
            largest = max(largest, float(np.abs(total).max(initial=0.0)))
        return largest


# In the order of TreeEnsemble's numbers; LEAF is ours.
MODES = (
    "BRANCH_LEQ",
    "BRANCH_LT",
    "BRANCH_GTE",
    "BRANCH_GT",
    "BRANCH_EQ",
    "BRANCH_NEQ",
    "BRANCH_MEMBER",
    "LEAF",
)
MEMBER, LEAF = MODES.index("BRANCH_MEMBER"), MODES.index("LEAF")
_EXACT = [MODES.index(name) for name in ("BRANCH_EQ", "BRANCH_NEQ", "BRANCH_MEMBER")]
_COMPARISONS = (np.less_equal, np.less, np.greater_equal, np.greater, np.equal, np.not_equal)


def _keys(nodes: Ints, values: NDArray[np.float32]) -> Ints:
    """A number for each pair of a node and a value; 0.0 and -0.0 are one value."""
    bits = np.ascontiguousarray(values + np.float32(0)).view(np.uint32)
    return nodes * np.int64(2**32) + bits.astype(np.int64)


def tree_ensembles(model: "onnx.ModelProto") -> list[TreeNodes]:
    """Return the ensembles of a graph, outside of inner graphs."""
    return [_read(node) for node in model.graph.node if node.op_type in TREES]


def only_compares(model: "onnx.ModelProto") -> bool:
    """Whether numbers reach the outputs through trees alone, so that answers change in steps."""
    reached = {
        info.name for info in model.graph.input if info.type.tensor_type.elem_type not in _NOT_NUMBERS
    } - {weight.name for weight in model.graph.initializer}
    seen_trees = False
    for node in model.graph.node:  # in the order in which they run
        if node.op_type in TREES and node.domain == "ai.onnx.ml":
            seen_trees = True
        elif reached.intersection(node.input):
            reached.update(node.output)
    return seen_trees and not reached.intersection(info.name for info in model.graph.output)


_NOT_NUMBERS = (8, 9)  # STRING and BOOL of TensorProto


def _read(node: "onnx.NodeProto") -> TreeNodes:
    given = _attributes(node)
    return _read_ensemble(node, given) if node.op_type == "TreeEnsemble" else _read_older(node, given)


def _read_ensemble(node: "onnx.NodeProto", given: dict[str, Any]) -> TreeNodes:
    """Of version 5: its leaves come after its nodes."""
    weight = np.asarray(given["leaf_weights"], np.float64)
    mode = np.asarray(given["nodes_modes"], np.int8)
    inner, every = mode.size, mode.size + weight.size
    leaves = np.arange(inner, every)

    def below(way: str) -> Ints:
        place = np.asarray(given[f"nodes_{way}nodeids"], np.int64)
        is_leaf = np.asarray(given[f"nodes_{way}leafs"], bool)
        return np.concatenate([np.where(is_leaf, inner + place, place), leaves])

    def padded(values: Any, dtype: Any) -> NDArray[Any]:
        return np.concatenate([np.asarray(values, dtype), np.zeros(weight.size, dtype)])

    dense = np.zeros((every, int(given["n_targets"])))
    dense[leaves, np.asarray(given["leaf_targetids"], np.int64)] = weight
    roots = np.asarray(given["tree_roots"], np.int64)
    members = _members(np.flatnonzero(mode == MEMBER), given.get("membership_values"))
    return TreeNodes(
        tensor=node.input[0],
        feature=padded(given["nodes_featureids"], np.int64),
        value=padded(given["nodes_splits"], np.float64),
        mode=np.concatenate([mode, np.full(weight.size, LEAF, np.int8)]),
        yes=below("true"),
        no=below("false"),
        missing_yes=padded(given.get("nodes_missing_value_tracks_true") or np.zeros(inner), bool),
        roots=roots,
        weights=dense / max(1, roots.size) if given.get("aggregate_function", 1) == 0 else dense,
        members=members,
    )


def _members(nodes: Ints, values: NDArray[Any] | None) -> dict[int, NDArray[np.float32]]:
    """What nodes look for: one list after the other, with NaN between them."""
    if values is None or not nodes.size:
        return {}
    ends = np.flatnonzero(np.isnan(values))
    parts = np.split(np.asarray(values, np.float32), ends)
    lists = [part[~np.isnan(part)] for part in parts][: nodes.size]
    return dict(zip(nodes.tolist(), lists, strict=True))


def _read_older(node: "onnx.NodeProto", given: dict[str, Any]) -> TreeNodes:
    tree = np.asarray(given["nodes_treeids"], np.int64)
    span = int(max(given["nodes_nodeids"])) + 1
    key = tree * span + np.asarray(given["nodes_nodeids"], np.int64)
    order = np.argsort(key, kind="stable")

    def place(nodes: Any, trees: Ints = tree) -> Ints:
        wanted = trees * span + np.asarray(nodes, np.int64)
        return order[np.minimum(np.searchsorted(key[order], wanted), key.size - 1)]

    mode = np.array([MODES.index(name.decode()) for name in given["nodes_modes"]], np.int8)
    every, leaf = np.arange(key.size), mode == LEAF
    yes = np.where(leaf, every, place(given["nodes_truenodeids"]))
    no = np.where(leaf, every, place(given["nodes_falsenodeids"]))
    child = np.zeros(key.size, bool)
    child[yes[~leaf]] = child[no[~leaf]] = True
    missing = np.asarray(given.get("nodes_missing_value_tracks_true") or np.zeros(key.size), bool)
    value = np.asarray(given.get("nodes_values_as_tensor", given.get("nodes_values")), np.float64)
    feature = np.asarray(given["nodes_featureids"], np.int64)
    return TreeNodes(
        tensor=node.input[0],
        feature=np.where(leaf, 0, feature),
        value=value,
        mode=mode,
        yes=yes,
        no=no,
        missing_yes=missing & ~leaf,
        roots=np.flatnonzero(~child),
        weights=_weights(given, place, key.size),
    )


def _weights(given: dict[str, Any], place: Any, nodes: int) -> NDArray[np.float64]:
    kind = "class" if "class_ids" in given else "target"
    targets = np.asarray(given[f"{kind}_ids"], np.int64)
    weight = np.asarray(given.get(f"{kind}_weights_as_tensor", given.get(f"{kind}_weights")), np.float64)
    at = place(given[f"{kind}_nodeids"], np.asarray(given[f"{kind}_treeids"], np.int64))
    dense = np.zeros((nodes, int(targets.max(initial=0)) + 1))
    np.add.at(dense, (at, targets), weight)
    if given.get("aggregate_function", b"SUM") == b"AVERAGE":
        dense /= max(1, len(set(given["nodes_treeids"])))
    return dense


def _attributes(node: "onnx.NodeProto") -> dict[str, Any]:
    from onnx import TensorProto, helper, numpy_helper

    read = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    return {
        name: numpy_helper.to_array(value) if isinstance(value, TensorProto) else value
        for name, value in read.items()
    }

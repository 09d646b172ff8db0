"""Forests as nodes of an ONNX graph."""

from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from falaj.training.datatypes import dtype_of
from falaj.training.graph.forest import ZERO, Forest, Rule, Tree, constant
from falaj.training.graph.graph import ML, Growth
from falaj.training.graph.target import TREE_ENSEMBLE_ML_OPSET, Target
from falaj.training.graph.thresholds import rounded

_SUM = 1  # of TreeEnsemble's ways to join its trees
_MODES = {Rule.AT_MOST: "BRANCH_LEQ", Rule.BELOW: "BRANCH_LT", Rule.MEMBER: "BRANCH_EQ"}


def ml_opset_of(forest: Forest, target: Target) -> int:
    """Return the version of ai.onnx.ml that a graph with this forest has to have.

    TreeEnsemble, of version 5, has one weight a leaf. Leaves of several are TreeEnsembleRegressor's, which 5
    no longer has.
    """
    if all(one.leaves.shape[1] == 1 for one in forest.trees):
        return target.ml_opset
    return min(target.ml_opset, TREE_ENSEMBLE_ML_OPSET - 1)


def sums_graph(grow: Growth, forest: Forest, x: str, given: Literal["FP32", "FP64"], target: Target) -> str:
    """Add the trees of a forest; return the tensor of their sums, FP64 [rows, outputs].

    Thresholds for an x of FP32 are rounded so that each comparison stays what it is. The sums are the
    library's own to the bit where they are summed in the same datatype, in one thread, and each leaf has one
    weight.

    Args:
        grow: Where to add them.
        forest: The trees.
        x: The tensor [rows, features].
        given: Its datatype.
        target: Whose `ml_opset` is one that `ml_opset_of` gave.
    """
    width = "FP32" if forest.sums == "FP32" or target.sums == "FP32" else "FP64"
    if width == "FP32" and given == "FP64":
        width = "FP64"  # an x of FP64 is compared as it is
    dtype = np.float32 if width == "FP32" else np.float64
    if forest.truncated:
        x = _truncated(grow, forest, x)
    if forest.zeros:
        x = _without_zeros(grow, forest, x, given)
    if forest.whole:
        x = _without_fractions(grow, forest, x, given)
    if given != width:
        x = grow.node("Cast", x, to=TensorProto.DOUBLE)
    # The base comes first, as libraries begin their sums with it.
    based = [constant(forest.base[[output]], int(output)) for output in np.flatnonzero(forest.base)]
    trees = (*based, *forest.trees)
    if not trees:
        trees = (constant(np.zeros(1)),)
    tables = _Tables(rounding=given == "FP32", dtype=dtype)
    if target.ml_opset >= TREE_ENSEMBLE_ML_OPSET:
        sums = grow.node("TreeEnsemble", x, domain=ML, **tables.ensemble(trees, forest.outputs))
    elif width == "FP32":
        sums = grow.node("TreeEnsembleRegressor", x, domain=ML, **tables.regressor(trees, forest.outputs))
    else:
        # It gives FP32 whatever it sums in: so two sums, of which only the small one is rounded.
        halves = tables.regressor(_in_halves(trees, forest.outputs), 2 * forest.outputs)
        both = grow.node("TreeEnsembleRegressor", x, domain=ML, **halves)
        wide = grow.node("Cast", both, to=TensorProto.DOUBLE)
        sums = grow.node("MatMul", wide, grow.constant(np.tile(np.eye(forest.outputs), (2, 1))))
    if width == "FP32":
        sums = grow.node("Cast", sums, to=TensorProto.DOUBLE)
    if forest.divisor != 1.0:
        sums = grow.node("Div", sums, grow.constant(forest.divisor, np.float64))
    return sums


def _in_halves(trees: tuple[Tree, ...], outputs: int) -> tuple[Tree, ...]:
    """Return trees with two outputs for each: a coarse part of the leaves, whose sums FP32 has, and the rest.

    The coarse part is in steps so large that no sum has more than 24 bits of them.
    """
    most = sum(float(np.abs(one.leaves).max()) for one in trees)
    step = 2.0 ** (np.ceil(np.log2(most)) - 23) if most > 0 and np.isfinite(most) else 1.0
    made: list[Tree] = []
    for one in trees:
        coarse = np.round(one.leaves / step) * step
        # From the tree's first output to the last of the second half.
        halves = np.zeros((len(one.leaves), outputs + one.leaves.shape[1]))
        halves[:, : one.leaves.shape[1]] = coarse
        halves[:, outputs:] = one.leaves - coarse
        made.append(replace(one, leaves=halves))
    return tuple(made)


def _truncated(grow: Growth, forest: Forest, x: str) -> str:
    """Cut the fractions off the columns in which members are looked for, as casts to integers do."""
    whole = grow.node("Mul", grow.node("Sign", x), grow.node("Floor", grow.node("Abs", x)))
    return grow.node("Where", _chosen(grow, forest, forest.truncated), whole, x)


def _without_zeros(grow: Growth, forest: Forest, x: str, given: Literal["FP32", "FP64"]) -> str:
    """Put NaN for zeros in the columns in which they are missing values."""
    zero = grow.node("LessOrEqual", grow.node("Abs", x), grow.constant(ZERO, dtype_of(given)))
    missing = grow.node("And", zero, _chosen(grow, forest, forest.zeros))
    return grow.node("Where", missing, grow.constant(np.nan, dtype_of(given)), x)


def _without_fractions(grow: Growth, forest: Forest, x: str, given: Literal["FP32", "FP64"]) -> str:
    """Put NaN for numbers that are not whole in the columns in which only those are known."""
    broken = grow.node("Not", grow.node("Equal", x, grow.node("Floor", x)))
    missing = grow.node("And", broken, _chosen(grow, forest, forest.whole))
    return grow.node("Where", missing, grow.constant(np.nan, dtype_of(given)), x)


def _chosen(grow: Growth, forest: Forest, columns: tuple[int, ...]) -> str:
    chosen = np.zeros(forest.features, np.bool_)
    chosen[list(columns)] = True
    return grow.constant(chosen)


@dataclass
class _Tables:
    """Writes trees as the attributes of one node."""

    rounding: bool
    dtype: type[np.float32] | type[np.float64]

    def ensemble(self, trees: tuple[Tree, ...], outputs: int) -> dict[str, Any]:
        """Return those of TreeEnsemble."""
        nodes = [0, *accumulate(len(one.feature) for one in trees)]
        leaves = [0, *accumulate(len(one.leaves) for one in trees)]
        yes = [_placed(one.yes, nodes[at], leaves[at]) for at, one in enumerate(trees)]
        no = [_placed(one.no, nodes[at], leaves[at]) for at, one in enumerate(trees)]
        attributes: dict[str, Any] = {}
        members = [float(value) for one in trees for of in one.members if of for value in (*of, np.nan)]
        if members:
            attributes["membership_values"] = self._tensor(np.array(members))
        targets = np.concatenate([np.full(len(one.leaves), one.output) for one in trees])
        return attributes | {
            "n_targets": outputs,
            "aggregate_function": _SUM,
            "post_transform": 0,
            "tree_roots": nodes[:-1],
            "nodes_featureids": np.concatenate([one.feature for one in trees]).tolist(),
            "nodes_splits": self._tensor(np.concatenate([self._thresholds(one) for one in trees])),
            "nodes_modes": numpy_helper.from_array(np.concatenate([one.rule for one in trees])),
            "nodes_missing_value_tracks_true": _joined([one.missing for one in trees]),
            "nodes_truenodeids": _joined([place for place, _ in yes]),
            "nodes_trueleafs": _joined([leaf for _, leaf in yes]),
            "nodes_falsenodeids": _joined([place for place, _ in no]),
            "nodes_falseleafs": _joined([leaf for _, leaf in no]),
            "leaf_targetids": targets.tolist(),
            "leaf_weights": self._tensor(np.concatenate([one.leaves[:, 0] for one in trees])),
        }

    def regressor(self, trees: tuple[Tree, ...], outputs: int) -> dict[str, Any]:
        """Return those of TreeEnsembleRegressor, whose leaves are nodes too, numbered after the others."""
        trees = tuple(map(_with_one_member_a_node, trees))
        inner = [len(one.feature) for one in trees]
        total = [len(one.feature) + len(one.leaves) for one in trees]
        modes = [[_MODES[Rule(rule)] for rule in one.rule] + ["LEAF"] * len(one.leaves) for one in trees]
        # A node's number where it is one, the leaf's after all of them where it is not.
        yes = [np.where(one.yes < 0, inner[at] + ~one.yes, one.yes) for at, one in enumerate(trees)]
        no = [np.where(one.no < 0, inner[at] + ~one.no, one.no) for at, one in enumerate(trees)]
        # Zeros add nothing; but a leaf has to have a weight.
        kept = [(one.leaves != 0.0) | (np.arange(one.leaves.shape[1]) == 0) for one in trees]
        weighed = [np.nonzero(of) for of in kept]  # the leaf and the place in it of each weight
        numbers = range(len(trees))
        attributes = {
            "n_targets": outputs,
            "nodes_treeids": _joined([np.full(total[at], at) for at in numbers]),
            "nodes_nodeids": _joined([np.arange(total[at]) for at in numbers]),
            "nodes_featureids": _joined([_longer(one.feature, one) for one in trees]),
            "nodes_modes": [mode for of in modes for mode in of],
            "nodes_missing_value_tracks_true": _joined([_longer(one.missing, one) for one in trees]),
            "nodes_truenodeids": _joined([_longer(yes[at], one) for at, one in enumerate(trees)]),
            "nodes_falsenodeids": _joined([_longer(no[at], one) for at, one in enumerate(trees)]),
            "target_treeids": _joined([np.full(len(weighed[at][0]), at) for at in numbers]),
            "target_nodeids": _joined([inner[at] + weighed[at][0] for at in numbers]),
            "target_ids": _joined([one.output + weighed[at][1] for at, one in enumerate(trees)]),
        }
        values = np.concatenate([_longer(self._thresholds(one), one) for one in trees])
        weights = np.concatenate([one.leaves[of] for one, of in zip(trees, kept, strict=True)])
        if self.dtype is np.float32:
            floats = {"nodes_values": values.astype(np.float32), "target_weights": weights.astype(np.float32)}
            return attributes | {name: of.tolist() for name, of in floats.items()}
        tensors = {"nodes_values_as_tensor": values, "target_weights_as_tensor": weights}
        return attributes | {name: self._tensor(of) for name, of in tensors.items()}

    def _thresholds(self, one: Tree) -> NDArray[Any]:
        if not self.rounding:
            return one.threshold
        exclusive = rounded(one.threshold, inclusive=False)
        return np.where(one.rule == Rule.BELOW, exclusive, rounded(one.threshold, inclusive=True))

    def _tensor(self, values: NDArray[Any]) -> TensorProto:
        return numpy_helper.from_array(values.astype(self.dtype))


def _placed(places: NDArray[np.int64], nodes: int, leaves: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return places among all nodes or all leaves, and which of them are leaves."""
    leaf = places < 0
    return np.where(leaf, leaves + ~places, nodes + places), leaf


def _joined(parts: list[NDArray[Any]]) -> list[int]:
    joined: list[int] = np.concatenate(parts).astype(np.int64).tolist()
    return joined


def _longer(values: NDArray[Any], one: Tree) -> NDArray[Any]:
    """Return the values of the inner nodes, and zeros for the leaves after them."""
    return np.concatenate([values, np.zeros(len(one.leaves), values.dtype)])


def _with_one_member_a_node(one: Tree) -> Tree:
    """Return the tree with chains of nodes that look for one member each: all that BRANCH_EQ can."""
    if not np.any(one.rule == Rule.MEMBER):
        return one
    first = [float(of[0]) if of else 0.0 for of in one.members]
    grown = {"threshold": np.where(one.rule == Rule.MEMBER, first, one.threshold).tolist()}
    grown |= {name: getattr(one, name).tolist() for name in ("feature", "rule", "missing", "yes", "no")}
    for node, members in enumerate(one.members):
        last = node
        for member in members[1:]:
            grown["no"][last] = last = len(grown["no"])
            grown["threshold"].append(float(member))
            for name in ("feature", "rule", "missing", "yes"):
                grown[name].append(grown[name][node])
            grown["no"].append(int(one.no[node]))
    arrays: dict[str, Any] = {name: np.array(of, getattr(one, name).dtype) for name, of in grown.items()}
    return replace(one, members=((),) * len(grown["no"]), **arrays)

"""Faults that converters have, planted in graphs that had none."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

_CODES = (b"BRANCH_LEQ", b"BRANCH_LT", b"BRANCH_GTE", b"BRANCH_GT", b"BRANCH_EQ", b"BRANCH_NEQ")
_AT_MOST, _BELOW, _EQUAL = (_CODES.index(name) for name in (b"BRANCH_LEQ", b"BRANCH_LT", b"BRANCH_EQ"))
_LEAF = b"LEAF"


def copied(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def nodes_of(model: onnx.ModelProto, kind: str) -> list[onnx.NodeProto]:
    """The nodes whose operator begins so."""
    return [node for node in model.graph.node if node.op_type.startswith(kind)]


def trees(model: onnx.ModelProto) -> onnx.NodeProto:
    (found,) = nodes_of(model, "TreeEnsemble")
    return found


def attribute(node: onnx.NodeProto, name: str) -> onnx.AttributeProto:
    return next(each for each in node.attribute if each.name == name)


def thresholds(model: onnx.ModelProto) -> NDArray[Any]:
    """What the nodes of the trees compare with."""
    values = onnx.helper.get_attribute_value(_thresholds(trees(model)))
    return numpy_helper.to_array(values) if isinstance(values, onnx.TensorProto) else np.float32(values)


def _thresholds(node: onnx.NodeProto) -> onnx.AttributeProto:
    names = ("nodes_splits", "nodes_values", "nodes_values_as_tensor")
    return next(each for each in node.attribute if each.name in names)


def with_thresholds(model: onnx.ModelProto, values: NDArray[Any]) -> onnx.ModelProto:
    model = copied(model)
    there = _thresholds(trees(model))
    if there.floats:
        there.floats[:] = values.tolist()
    else:
        there.t.CopyFrom(numpy_helper.from_array(values))
    return model


def shifted(model: onnx.ModelProto, place: int, up: bool) -> onnx.ModelProto:
    """One threshold moved to the next float32."""
    values = np.array(thresholds(model))
    with np.errstate(over="ignore"):
        values[place] = np.nextafter(np.float32(values[place]), np.float32(np.inf if up else -np.inf))
    return with_thresholds(model, values)


def other_missing(model: onnx.ModelProto, place: int) -> onnx.ModelProto:
    """One node sends rows without a value the other way."""
    model = copied(model)
    ways = attribute(trees(model), "nodes_missing_value_tracks_true").ints
    ways[place] = 1 - ways[place]
    return model


def columns_swapped(model: onnx.ModelProto, first: int, second: int) -> onnx.ModelProto:
    """Trees look at one column where they should at the other."""
    model = copied(model)
    features = attribute(trees(model), "nodes_featureids").ints
    swap = {first: second, second: first}
    features[:] = [swap.get(feature, feature) for feature in features]
    return model


def categories_swapped(model: onnx.ModelProto, encoder: int, first: int, second: int) -> onnx.ModelProto:
    """Two categories have each other's code."""
    model = copied(model)
    keys = attribute(nodes_of(model, "LabelEncoder")[encoder], "keys_strings").strings
    keys[first], keys[second] = keys[second], keys[first]
    return model


def category_dropped(model: onnx.ModelProto, encoder: int, dropped: int) -> onnx.ModelProto:
    """One category is unknown."""
    model = copied(model)
    node = nodes_of(model, "LabelEncoder")[encoder]
    del attribute(node, "keys_strings").strings[dropped]
    del attribute(node, "values_floats").floats[dropped]
    return model


class Walk:
    """Sends rows down the trees of a graph one by one: slow, and shares no code with the gate."""

    def __init__(self, model: onnx.ModelProto) -> None:
        node = trees(model)
        self._read = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        self._threshold = thresholds(model).astype(np.float64).tolist()
        self._newer = node.op_type == "TreeEnsemble"
        self._leaves: dict[int, list[Any]] = {}
        if self._newer:
            self._mode = numpy_helper.to_array(self._read["nodes_modes"]).tolist()
            weights = numpy_helper.to_array(self._read["leaf_weights"]).tolist()
            targets = self._read["leaf_targetids"]
            self._leaves = {~i: [pair] for i, pair in enumerate(zip(targets, weights, strict=True))}
            self.roots = list(self._read["tree_roots"])
        else:
            self._mode = [None if each == _LEAF else _CODES.index(each) for each in self._read["nodes_modes"]]
            names = list(zip(self._read["nodes_treeids"], self._read["nodes_nodeids"], strict=True))
            self._places = {name: i for i, name in enumerate(names)}
            kind = "class" if "class_ids" in self._read else "target"
            weights = next(
                numpy_helper.to_array(value) if name.endswith("tensor") else value
                for name, value in self._read.items()
                if name.startswith(f"{kind}_weights")
            )
            told = [*(self._read[f"{kind}_{part}"] for part in ("treeids", "nodeids", "ids")), weights]
            for tree, leaf, target, weight in zip(*told, strict=True):
                self._leaves.setdefault(self._places[tree, leaf], []).append((target, weight))
            self.roots = [self._places[tree, 0] for tree in sorted(set(self._read["nodes_treeids"]))]

    def _child(self, at: int, goes: bool) -> int:
        way = "true" if goes else "false"
        below = self._read[f"nodes_{way}nodeids"][at]
        if not self._newer:
            return self._places[self._read["nodes_treeids"][at], below]
        return ~below if self._read[f"nodes_{way}leafs"][at] else below

    def path(self, root: int, row: NDArray[Any]) -> tuple[Any, list[int]]:
        """What the leaf adds that a row comes to, and the nodes on its way; () where one takes no number."""
        at, path = root, []
        while at not in self._leaves:
            path.append(at)
            value, threshold = float(row[self._read["nodes_featureids"][at]]), self._threshold[at]
            if np.isnan(value):
                goes = bool(self._read.get("nodes_missing_value_tracks_true", [0] * len(self._mode))[at])
            elif self._mode[at] in (_AT_MOST, _BELOW, _EQUAL):
                mode = self._mode[at]
                goes = value <= threshold if mode == _AT_MOST else value < threshold
                goes = value == threshold if mode == _EQUAL else goes
            else:
                return (), path
            at = self._child(at, goes)
        return self._leaves[at], path

    def telling(self, rows: NDArray[np.float32], columns: int, up: bool) -> list[int]:
        """The nodes whose threshold, moved by one float32, sends some row to a leaf that adds something else.

        The row comes to the node, and has there the number that is then on the other side.

        Args:
            columns: Nodes of the first so many features are looked at.
        """
        found: set[int] = set()
        for root, row, at in self._visits(rows, columns):
            if at in found:
                continue
            value = np.float32(self._threshold[at])
            with np.errstate(over="ignore"):  # beside the largest number there is infinity
                if up and self._mode[at] == _AT_MOST:
                    value = np.nextafter(value, np.float32(np.inf))
                elif not up and self._mode[at] == _BELOW:
                    value = np.nextafter(value, np.float32(-np.inf))
            if self._matters(root, row, at, value, goes=not up):
                found.add(at)
        return sorted(found)

    def telling_missing(self, rows: NDArray[np.float32], columns: int) -> list[int]:
        """The nodes at which it matters where some row without the value goes."""
        ways = self._read["nodes_missing_value_tracks_true"]
        visits = self._visits(rows, columns)
        return sorted(
            {at for root, row, at in visits if self._matters(root, row, at, np.nan, goes=bool(ways[at]))}
        )

    def _visits(
        self, rows: NDArray[np.float32], columns: int
    ) -> Iterator[tuple[int, NDArray[np.float32], int]]:
        """Each tree's root, with each row and each node that it comes to."""
        feature = self._read["nodes_featureids"]
        for root in self.roots:
            for row in rows:
                for at in self.path(root, row)[1]:
                    if feature[at] < columns and self._mode[at] in (_AT_MOST, _BELOW):
                        yield root, row, at

    def _matters(self, root: int, row: NDArray[np.float32], at: int, value: Any, goes: bool) -> bool:
        """Whether a row that has a value at a node comes to another leaf if it goes on otherwise."""
        moved = row.copy()
        moved[self._read["nodes_featureids"][at]] = value
        leaf, path = self.path(root, moved)
        if at not in path:
            return False
        assert self.path(self._child(at, goes), moved)[0] == leaf
        return bool(self.path(self._child(at, not goes), moved)[0] != leaf)

"""Faults that converters have, planted in graphs that had none."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

_LEAF = b"LEAF"


def copied(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def ensembles(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type.startswith("TreeEnsemble")]


def attribute(node: onnx.NodeProto, name: str) -> onnx.AttributeProto:
    return next(each for each in node.attribute if each.name == name)


def branches(node: onnx.NodeProto) -> list[int]:
    """The places of nodes that compare with a number."""
    return [
        i
        for i, mode in enumerate(attribute(node, "nodes_modes").strings)
        if mode in (b"BRANCH_LEQ", b"BRANCH_LT", b"BRANCH_GT", b"BRANCH_GTE")
    ]


def shifted(model: onnx.ModelProto, place: int, up: bool, ensemble: int = 0) -> onnx.ModelProto:
    """One threshold moved to the next float32."""
    model = copied(model)
    values = attribute(ensembles(model)[ensemble], "nodes_values").floats
    values[place] = float(np.nextafter(np.float32(values[place]), np.float32(np.inf if up else -np.inf)))
    return model


def other_missing(model: onnx.ModelProto, place: int) -> onnx.ModelProto:
    """One node sends rows without a value the other way."""
    model = copied(model)
    ways = attribute(ensembles(model)[0], "nodes_missing_value_tracks_true").ints
    ways[place] = 1 - ways[place]
    return model


def with_thresholds(model: onnx.ModelProto, values: NDArray[np.float32]) -> onnx.ModelProto:
    model = copied(model)
    attribute(ensembles(model)[0], "nodes_values").floats[:] = values.tolist()
    return model


def columns_swapped(model: onnx.ModelProto, first: int, second: int) -> onnx.ModelProto:
    """Trees look at one column where they should at the other."""
    model = copied(model)
    for node in ensembles(model):
        features = attribute(node, "nodes_featureids").ints
        swap = {first: second, second: first}
        features[:] = [swap.get(feature, feature) for feature in features]
    return model


def telling(model: onnx.ModelProto, x: NDArray[np.float32]) -> list[int]:
    """The nodes at which a number's way matters: to some row that comes there, in one of the trees."""
    node = ensembles(model)[0]
    read = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    names = list(zip(read["nodes_treeids"], read["nodes_nodeids"], strict=True))
    places = {name: i for i, name in enumerate(names)}
    kind = "class" if "class_ids" in read else "target"
    leaves: dict[int, list[tuple[int, float]]] = {}
    told = (read[f"{kind}_treeids"], read[f"{kind}_nodeids"], read[f"{kind}_ids"], read[f"{kind}_weights"])
    for tree, leaf, target, weight in zip(*told, strict=True):
        leaves.setdefault(places[tree, leaf], []).append((target, weight))
    missing = read.get("nodes_missing_value_tracks_true") or [0] * len(names)

    def child(at: int, goes: bool) -> int:
        below = read["nodes_truenodeids" if goes else "nodes_falsenodeids"][at]
        return places[read["nodes_treeids"][at], below]

    def walk(at: int, row: NDArray[np.float32]) -> tuple[int, list[int]]:
        path = []
        while read["nodes_modes"][at] != _LEAF:
            path.append(at)
            value, threshold = row[read["nodes_featureids"][at]], np.float32(read["nodes_values"][at])
            compared = {b"BRANCH_LEQ": value <= threshold, b"BRANCH_LT": value < threshold}
            at = child(at, bool(missing[at]) if np.isnan(value) else bool(compared[read["nodes_modes"][at]]))
        return at, path

    found = set()
    for root in (places[tree, 0] for tree in sorted(set(read["nodes_treeids"]))):
        for row in x:
            for at in walk(root, row)[1]:
                if at not in found:
                    ends = []
                    for step in (-np.inf, np.inf):
                        moved = row.copy()
                        threshold = np.float32(read["nodes_values"][at])
                        moved[read["nodes_featureids"][at]] = np.nextafter(threshold, np.float32(step))
                        ends.append(leaves[walk(root, moved)[0]])
                    found |= {at} if ends[0] != ends[1] else set()
    return sorted(found)


def initializer(model: onnx.ModelProto, name: str) -> NDArray[Any]:
    found = next(each for each in model.graph.initializer if each.name == name)
    return np.array(numpy_helper.to_array(found))


def with_initializer(model: onnx.ModelProto, name: str, value: NDArray[Any]) -> onnx.ModelProto:
    model = copied(model)
    for each in model.graph.initializer:
        if each.name == name:
            each.CopyFrom(numpy_helper.from_array(value, name))
    return model

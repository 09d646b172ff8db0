"""CatBoost's trees, from the JSON that it saves a model as."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.errors import TrainingError
from falaj.training.graph.forest import Forest, Link, Node, Tree, constant, tree, tree_of_nodes

# By what the model's sums are for; of any other loss they are the values themselves.
_LINKS: Mapping[str, Link] = {
    "Logloss": "sigmoid",
    "CrossEntropy": "sigmoid",
    "MultiClass": "softmax",
    "MultiClassOneVsAll": "sigmoids",
    "Poisson": "exp",
    "Tweedie": "exp",
}
_NAN_GOES_LEFT = {"AsIs": True, "AsFalse": True, "AsTrue": False}  # NaN is above no border


def catboost_forest(model: Any) -> Forest:
    """Return the trees of a catboost.CatBoost.

    Raises:
        TrainingError: It has categories, text or embeddings of its own, which it hashes and counts.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        model.save_model(str(path), format="json")
        told = json.loads(path.read_text(encoding="utf-8"))
    kinds = {name for name, of in told["features_info"].items() if of and name.endswith("_features")}
    if kinds - {"float_features"}:
        raise TrainingError(
            f"CatBoost: expected numbers, categories as codes, got {', '.join(sorted(kinds))} of its own"
        )
    floats = told["features_info"]["float_features"]
    flat = {of["feature_index"]: int(of["flat_feature_index"]) for of in floats}
    left = {of["feature_index"]: _NAN_GOES_LEFT[of["nan_value_treatment"]] for of in floats}
    scale, bias = told["scale_and_bias"]
    base = np.atleast_1d(np.array(bias, np.float64))
    trees = [_oblivious(one, flat, left, len(base)) for one in told.get("oblivious_trees", ())]
    trees += [_asymmetric(one, flat, left, len(base)) for one in told.get("trees", ())]
    return Forest(
        trees=tuple(_scaled(one, float(scale)) for one in trees),
        features=1 + max(flat.values(), default=-1),
        outputs=len(base),
        base=base,
        compares="FP32",
        link=_LINKS.get(loss_of(model), "identity"),
    )


def loss_of(model: Any) -> str:
    """Return the name of the loss that a catboost.CatBoost was fitted with."""
    return str(model.get_all_params().get("loss_function", "")).split(":")[0]


def _oblivious(told: dict[str, Any], flat: Mapping[int, int], left: Mapping[int, bool], outputs: int) -> Tree:
    """Return a tree whose levels have one split each; bit i of a leaf's number is how split i went."""
    leaves = np.array(told["leaf_values"], np.float64).reshape(-1, outputs)
    splits = told["splits"] or []
    if not splits:
        return constant(leaves[0])
    for split in splits:
        _check(split)
    depth = len(splits)
    levels = np.concatenate([np.full(2**level, level) for level in range(depth)])
    count = len(levels)  # nodes in order of their levels, the last split in the root
    first = np.arange(count) * 2 + 1
    bottom = first >= count
    of_level = splits[::-1]
    yes, no = (np.where(bottom, ~(first + way - count), first + way) for way in (0, 1))
    feature = np.array([flat[split["float_feature_index"]] for split in of_level], np.int64)
    missing = np.array([left[split["float_feature_index"]] for split in of_level], np.bool_)
    borders = np.array([_border(split) for split in of_level])
    return tree(feature[levels], borders[levels], missing[levels], yes, no, leaves)


def _asymmetric(
    told: dict[str, Any], flat: Mapping[int, int], left: Mapping[int, bool], outputs: int
) -> Tree:
    nodes: list[Node] = []
    leaves: list[Any] = []
    waiting = [(told, -1, False)]
    while waiting:
        one, parent, is_no = waiting.pop()
        if "split" not in one:
            place = ~len(leaves)
            leaves.append(one["value"])
        else:
            _check(one["split"])
            place, of = len(nodes), one["split"]["float_feature_index"]
            nodes.append(Node(flat[of], _border(one["split"]), 0, 0, missing=left[of]))
            waiting += [(one["right"], place, True), (one["left"], place, False)]
        if parent >= 0:
            setattr(nodes[parent], "no" if is_no else "yes", place)
    values = np.array(leaves, np.float64).reshape(-1, outputs)
    return tree_of_nodes(nodes, values) if nodes else constant(values[0])


def _check(split: Mapping[str, Any]) -> None:
    if split["split_type"] != "FloatFeature":
        raise TrainingError(f"CatBoost: a split of type {split['split_type']}: expected FloatFeature")


def _border(split: Mapping[str, Any]) -> float:
    return float(np.float32(split["border"]))


def _scaled(one: Tree, scale: float) -> Tree:
    return one if scale == 1.0 else replace(one, leaves=one.leaves * scale)


def catboost_scores(model: Any, matrix: NDArray[np.float32], classes: int) -> NDArray[np.float64]:
    """Return its probabilities, or its values as they are served: of Poisson and Tweedie, their exponent."""
    kind = "Probability" if classes else "RawFormulaVal"
    if not classes and _LINKS.get(loss_of(model)) == "exp":
        kind = "Exponent"
    return np.asarray(model.predict(matrix, prediction_type=kind), np.float64)

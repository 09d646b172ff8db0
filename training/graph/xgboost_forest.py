"""XGBoost's trees, from the JSON that it saves a model as."""

import json
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.errors import TrainingError
from falaj.training.graph.forest import Forest, Link, Rule, Tree, constant, places

_LINKS: Mapping[str, Link] = {
    "reg:squarederror": "identity",
    "reg:squaredlogerror": "identity",
    "reg:pseudohubererror": "identity",
    "reg:absoluteerror": "identity",
    "reg:quantileerror": "identity",
    "rank:pairwise": "identity",
    "rank:ndcg": "identity",
    "rank:map": "identity",
    "reg:logistic": "sigmoid",
    "binary:logistic": "sigmoid",
    "binary:logitraw": "identity",
    "count:poisson": "exp",
    "reg:gamma": "exp",
    "reg:tweedie": "exp",
    "multi:softprob": "softmax",
}


def xgboost_forest(booster: Any) -> Forest:
    """Return the trees of an xgboost.Booster: all, as its own predict takes all unless told otherwise.

    Raises:
        TrainingError: It is linear, has several outputs a leaf, or an objective whose scores are not known.
    """
    learner = json.loads(bytes(booster.save_raw("json")))["learner"]
    objective = learner["objective"]["name"]
    if objective not in _LINKS:
        raise TrainingError(f"XGBoost: objective {objective!r}: expected one of {', '.join(_LINKS)}")
    boosted, weights = learner["gradient_booster"], None
    if boosted["name"] == "dart":
        boosted, weights = boosted["gbtree"], boosted["weight_drop"]
    if boosted["name"] != "gbtree":
        raise TrainingError(f"XGBoost: booster {boosted['name']!r}: expected gbtree or dart")
    model, told = boosted["model"], learner["learner_model_param"]
    link = _LINKS[objective]
    outputs = max(1, int(told["num_class"]), int(told["num_target"]))
    trees = tuple(
        _tree(one, output, np.float32(1.0 if weights is None else weights[number]))
        for number, (one, output) in enumerate(zip(model["trees"], model["tree_info"], strict=True))
    )
    categorical = {int(of) for one in trees for of in one.feature[one.rule == Rule.MEMBER]}
    return Forest(
        trees=trees,
        features=int(told["num_feature"]),
        outputs=outputs,
        base=np.resize(_margin(_numbers(told["base_score"]), link), outputs).astype(np.float64),
        compares="FP32",
        sums="FP32",
        link=link,
        truncated=tuple(sorted(categorical)),
    )


def xgboost_categories(booster: Any) -> list[list[str]]:
    """Return the texts of each column of text, in the order of their codes, if it was fitted on a DataFrame.

    Raises:
        TrainingError: One has other letters than ASCII's: XGBoost 3.2 keeps as many bytes as it has letters.
    """
    boosted = json.loads(bytes(booster.save_raw("json")))["learner"]["gradient_booster"]
    model = boosted.get("gbtree", boosted).get("model", {})
    found: list[list[str]] = []
    for encoded in model.get("cats", {}).get("enc", ()):
        borders = encoded.get("offsets", ())
        if len(borders) < 2:
            continue
        letters = encoded["values"]
        if min(letters) < 0 or max(letters) > 127:
            raise TrainingError(
                "XGBoost: categories: expected ASCII, of which each letter is one byte in the model"
            )
        text = bytes(letters).decode("ascii")
        found.append([text[start:end] for start, end in pairwise(borders)])
    return found


def _numbers(text: str) -> NDArray[np.float32]:
    """Read one number, or since version 3.1 a list of them."""
    return np.array(text.strip("[]").split(","), np.float32)


def _margin(scores: NDArray[np.float32], link: Link) -> NDArray[np.float32]:
    """Return the sums that give these scores, in FP32 as it computes them."""
    if link == "sigmoid":
        return np.asarray(-np.log(np.float32(1.0) / scores - np.float32(1.0)), np.float32)
    return np.asarray(np.log(scores) if link == "exp" else scores, np.float32)


def _tree(told: dict[str, Any], output: int, weight: np.float32) -> Tree:
    if int(told["tree_param"]["size_leaf_vector"]) > 1:
        raise TrainingError("XGBoost: multi_strategy 'multi_output_tree': expected 'one_output_per_tree'")
    left, right = (np.array(told[name], np.int64) for name in ("left_children", "right_children"))
    leaf = left < 0
    # The leaves' values are where the others have their thresholds.
    values = np.array(told["split_conditions"], np.float32)
    leaves = (values[leaf] * weight).astype(np.float64).reshape(-1, 1)
    if leaf[0]:
        return constant(leaves[0], output)
    place, node = places(leaf), ~leaf
    member = np.array(told["split_type"], np.bool_)[node]
    default = np.array(told["default_left"], np.bool_)[node]
    # A value that is among the categories goes right.
    yes = np.where(member, place[right[node]], place[left[node]])
    no = np.where(member, place[left[node]], place[right[node]])
    sets = _sets(told)
    return Tree(
        feature=np.array(told["split_indices"], np.int64)[node],
        threshold=np.where(member, 0.0, values[node].astype(np.float64)),
        rule=np.where(member, Rule.MEMBER, Rule.BELOW).astype(np.uint8),
        missing=default != member,
        yes=yes,
        no=no,
        members=tuple(sets.get(number, ()) for number in np.flatnonzero(node).tolist()),
        leaves=leaves,
        output=output,
    )


def _sets(told: dict[str, Any]) -> dict[int, tuple[int, ...]]:
    """Return the categories of each node that has some."""
    segments = zip(
        told["categories_nodes"], told["categories_segments"], told["categories_sizes"], strict=True
    )
    return {
        node: tuple(sorted(map(int, told["categories"][start : start + size])))
        for node, start, size in segments
    }

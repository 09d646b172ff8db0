"""LightGBM's trees, from the text that it saves a model as."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.errors import TrainingError
from falaj.training.graph.forest import ZERO, Forest, Link, Node, Rule, Tree, constant, tree_of_nodes

# Of `decision_type`: bits 0 and 1, then how missing values are told, in bits 2 and 3.
_CATEGORICAL, _DEFAULT_LEFT, _MISSING_SHIFT, _MISSING, _MISSING_ZERO = 1, 2, 2, 3, 1
_LINKS: Mapping[str, Link] = {
    "custom": "identity",
    "regression": "identity",
    "regression_l1": "identity",
    "huber": "identity",
    "fair": "identity",
    "quantile": "identity",
    "mape": "identity",
    "lambdarank": "identity",
    "rank_xendcg": "identity",
    "poisson": "exp",
    "gamma": "exp",
    "tweedie": "exp",
    "binary": "sigmoid",
    "cross_entropy": "sigmoid",
    "cross_entropy_lambda": "log1pexp",
    "multiclass": "softmax",
    "multiclassova": "sigmoids",
}


def lightgbm_forest(booster: Any) -> Forest:
    """Return the trees that a lightgbm.Booster predicts with: up to its best iteration, if it knows one.

    Raises:
        TrainingError: It has linear models in its leaves, or an objective that is not known here.
    """
    text = booster.model_to_string(num_iteration=None, start_iteration=0)
    head, *parts = re.split(r"^Tree=\d+\n", text.split("\nend of trees")[0], flags=re.MULTILINE)
    told = _fields(head)
    if not booster.num_trees():
        raise TrainingError("LightGBM: the booster has no trees")
    # An objective of the user's own is not in the model, and its sums are what is predicted.
    objective, *settings = told.get("objective", "custom").split()
    if objective not in _LINKS:
        raise TrainingError(f"LightGBM: objective {objective!r}: expected one of {', '.join(_LINKS)}")
    link, options = _LINKS[objective], dict(one.split(":", 1) for one in settings if ":" in one)
    if "sqrt" in settings:
        link = "signed_square"
    outputs = int(told["num_tree_per_iteration"])
    fields = [_fields(part) for part in parts]
    trees = tuple(_tree(of, number % outputs) for number, of in enumerate(fields))
    categorical = {int(of) for one in trees for of in one.feature[one.rule == Rule.MEMBER]}
    return Forest(
        trees=trees,
        features=int(told["max_feature_idx"]) + 1,
        outputs=outputs,
        base=np.zeros(outputs),
        divisor=len(trees) / outputs if "average_output" in told else 1.0,
        link=link,
        slope=float(options.get("sigmoid", 1.0)),
        truncated=tuple(sorted(categorical)),
        zeros=_zero_columns(fields),
    )


def _fields(text: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in text.splitlines() if line)
    return {name: value for name, _, value in pairs}


def _tree(told: dict[str, str], output: int) -> Tree:
    if told.get("is_linear", "0") != "0":
        raise TrainingError("LightGBM: linear_tree: ONNX has no trees with linear models in their leaves")

    def numbers(name: str, dtype: Any) -> NDArray[Any]:
        return np.array(told.get(name, "").split(), dtype)

    leaves = numbers("leaf_value", np.float64)
    if int(told["num_leaves"]) == 1:
        return constant(leaves[:1], output)
    decision = numbers("decision_type", np.int64).tolist()
    left, right = (numbers(name, np.int64).tolist() for name in ("left_child", "right_child"))
    features, values = numbers("split_feature", np.int64).tolist(), numbers("threshold", np.float64).tolist()
    borders, bits = numbers("cat_boundaries", np.int64), numbers("cat_threshold", np.uint32)
    nodes = [Node(*of) for of in zip(features, values, left, right, strict=True)]
    for node, kind in zip(nodes, decision, strict=True):
        default, missing = bool(kind & _DEFAULT_LEFT), kind >> _MISSING_SHIFT & _MISSING
        if kind & _CATEGORICAL:
            at = int(node.threshold)
            node.members, node.threshold = _members(bits[borders[at] : borders[at + 1]]), 0.0
            node.rule = Rule.MEMBER
        else:
            # Where nothing was missing in training, NaN is 0.
            node.missing = default if missing else node.threshold >= 0.0
            node.threshold = _beside_zero(node.threshold)
    return tree_of_nodes(nodes, leaves.reshape(-1, 1), output)


def _beside_zero(threshold: float) -> float:
    """Return a threshold that parts values as LightGBM does, which takes those of up to ZERO for 0."""
    if -ZERO <= threshold < 0.0:
        return float(np.nextafter(-ZERO, -1.0))
    return ZERO if 0.0 <= threshold < ZERO else threshold


def _zero_columns(parts: Sequence[Mapping[str, str]]) -> tuple[int, ...]:
    """Return the columns whose zeros are missing values: LightGBM tells it at each node."""
    told: dict[int, set[bool]] = {}
    for part in parts:
        features, decisions = (part.get(name, "").split() for name in ("split_feature", "decision_type"))
        for feature, decision in zip(map(int, features), decisions, strict=True):
            zero = int(decision) >> _MISSING_SHIFT & _MISSING == _MISSING_ZERO
            told.setdefault(feature, set()).add(zero)
    for column, both in told.items():
        if len(both) > 1:
            raise TrainingError(f"LightGBM: column {column}: zero is a missing value in some trees only")
    return tuple(sorted(column for column, of in told.items() if True in of))


def _members(words: NDArray[np.uint32]) -> tuple[int, ...]:
    bits = np.unpackbits(words.astype("<u4").view(np.uint8), bitorder="little")
    return tuple(np.flatnonzero(bits).tolist())

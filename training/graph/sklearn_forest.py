"""The trees of scikit-learn's estimators."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.errors import TrainingError
from falaj.training.graph.forest import Forest, Link, Node, Rule, Tree, constant, places, tree, tree_of_nodes

_TREES = ("DecisionTree", "ExtraTree")
_FORESTS = ("RandomForest", "ExtraTrees")


def sklearn_forest(estimator: Any) -> Forest | None:
    """Return the trees of a tree, a forest or a boosted one; None of any other estimator."""
    kind = type(estimator).__name__
    if not type(estimator).__module__.startswith("sklearn."):
        return None
    for ending in ("Classifier", "Regressor"):
        name = kind.removesuffix(ending)
        if name == kind:
            continue
        if name in _TREES:
            return _averaged([estimator], estimator, ending)
        if name in _FORESTS:
            return _averaged(list(estimator.estimators_), estimator, ending)
        if name == "GradientBoosting":
            return _gradient_boosting(estimator, ending)
        if name == "HistGradientBoosting":
            return _hist_gradient_boosting(estimator, ending)
    return None


def _averaged(trees: list[Any], estimator: Any, ending: str) -> Forest:
    """The mean over trees of their leaves' class shares, or values."""
    if estimator.n_outputs_ != 1:
        raise TrainingError(f"scikit-learn: expected one output, got {estimator.n_outputs_}")
    classes = ending == "Classifier"
    made = [_tree(one.tree_, 1.0) for one in trees]
    width = made[0].leaves.shape[1]
    if classes and width == 2:  # the second share is enough
        made = [_replaced(one, one.leaves[:, 1:]) for one in made]
    return Forest(
        trees=tuple(made),
        features=int(estimator.n_features_in_),
        outputs=made[0].leaves.shape[1],
        base=np.zeros(made[0].leaves.shape[1]),
        divisor=float(len(made)),
        compares="FP32",
    )


def _replaced(one: Tree, leaves: NDArray[np.float64]) -> Tree:
    return replace(one, leaves=np.ascontiguousarray(leaves))


def _tree(told: Any, scale: float, output: int = 0) -> Tree:
    """Return a sklearn.tree._tree.Tree; it compares x as FP32 with thresholds of FP64."""
    leaf = told.children_left < 0
    values = told.value[leaf, 0, :].astype(np.float64) * scale
    if leaf[0]:
        return constant(values[0], output)
    place, node = places(leaf), ~leaf
    return tree(
        feature=told.feature[node].astype(np.int64),
        threshold=told.threshold[node].astype(np.float64),
        missing=told.missing_go_to_left[node].astype(np.bool_),
        yes=place[told.children_left[node]],
        no=place[told.children_right[node]],
        leaves=values,
        output=output,
    )


def _gradient_boosting(estimator: Any, ending: str) -> Forest:
    stages = estimator.estimators_
    outputs = stages.shape[1]
    rate = float(estimator.learning_rate)
    row = np.zeros((1, int(estimator.n_features_in_)), np.float32)
    base = np.asarray(estimator._raw_predict_init(row), np.float64)[0]
    if not (estimator.init_ == "zero" or type(estimator.init_).__name__.startswith("Dummy")):
        raise TrainingError(
            f"scikit-learn: GradientBoosting: init: expected none of your own, got a "
            f"{type(estimator.init_).__name__}"
        )
    link: Link = "identity"
    if ending == "Classifier":
        link = "softmax" if outputs > 1 else "sigmoid"
    loss = getattr(estimator, "loss", "")
    return Forest(
        trees=tuple(_tree(one.tree_, rate, output) for stage in stages for output, one in enumerate(stage)),
        features=int(estimator.n_features_in_),
        outputs=outputs,
        base=base,
        compares="FP32",
        link=link,
        slope=2.0 if loss == "exponential" else 1.0,
    )


def _hist_gradient_boosting(estimator: Any, ending: str) -> Forest:
    outputs = int(estimator.n_trees_per_iteration_)
    order, known = _categories(estimator)
    trees = tuple(
        _hist_tree(one, output, order, known)
        for stage in estimator._predictors
        for output, one in enumerate(stage)
    )
    links: dict[str, Link] = {"poisson": "exp", "gamma": "exp"}
    link = links.get(getattr(estimator, "loss", ""), "identity")
    if ending == "Classifier":
        link = "softmax" if outputs > 1 else "sigmoid"
    return Forest(
        trees=trees,
        features=int(estimator.n_features_in_),
        outputs=outputs,
        base=np.asarray(estimator._baseline_prediction, np.float64).ravel(),
        link=link,
        whole=tuple(known),
    )


def _categories(estimator: Any) -> tuple[NDArray[np.int64], dict[int, NDArray[np.int64]]]:
    """Return the column of x of each column that the trees see, and the categories of those that have some.

    HistGradientBoosting puts its categorical columns first, and encodes each value as its place among those
    that it was fitted on.
    """
    categorical = getattr(estimator, "is_categorical_", None)
    columns = np.arange(int(estimator.n_features_in_))
    if categorical is None:
        return columns, {}
    order = np.concatenate([columns[categorical], columns[~categorical]])
    known: dict[int, NDArray[np.int64]] = {}
    for column, values in zip(columns[categorical], _known(estimator), strict=True):
        if all(isinstance(value, str) for value in values):
            known[int(column)] = np.arange(len(values))  # as `hist_texts` are coded
            continue
        if not all(isinstance(value, int | float) and value >= 0 and value == int(value) for value in values):
            raise TrainingError(
                f"scikit-learn: HistGradientBoosting: column {column}: expected categories that are whole "
                f"numbers, codes, got {', '.join(map(repr, values[:5]))}"
            )
        known[int(column)] = np.array(values, np.int64)
    return order, known


def hist_texts(estimator: Any) -> list[list[str]]:
    """Return the texts of each column of text that HistGradientBoosting codes itself, by their codes."""
    if getattr(estimator, "is_categorical_", None) is None:
        return []
    return [of for of in _known(estimator) if of and all(isinstance(value, str) for value in of)]


def _known(estimator: Any) -> list[list[Any]]:
    """Return what each categorical column was fitted on, without the missing value."""
    encoder = estimator._preprocessor.named_transformers_["encoder"]
    return [[of for of in values.tolist() if of == of and of is not None] for values in encoder.categories_]


def _hist_tree(told: Any, output: int, order: NDArray[np.int64], known: dict[int, NDArray[np.int64]]) -> Tree:
    nodes = told.nodes
    leaf = nodes["is_leaf"].astype(np.bool_)
    leaves = nodes["value"][leaf].astype(np.float64).reshape(-1, 1)
    if leaf[0]:
        return constant(leaves[0], output)
    place = places(leaf)
    made: list[Node] = []
    for one in nodes[~leaf]:
        column, missing = int(order[one["feature_idx"]]), bool(one["missing_go_to_left"])
        left, right = int(place[one["left"]]), int(place[one["right"]])
        if not one["is_categorical"]:
            made.append(Node(column, float(one["num_threshold"]), left, right, missing=missing))
            continue
        # Unknown values go with the missing ones: so what is looked for is what goes the other way.
        bits = np.unpackbits(
            told.raw_left_cat_bitsets[one["bitset_idx"]].astype("<u4").view(np.uint8), bitorder="little"
        )
        is_left = bits[: len(known[column])].astype(np.bool_)
        if missing:
            left, right, is_left = right, left, ~is_left
        members = tuple(known[column][is_left].tolist())
        made.append(Node(column, 0.0, left, right, Rule.MEMBER, members=members))
    return tree_of_nodes(made, leaves, output)

"""Trees as every library's become before they are written as a graph."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from falaj.training.graph.thresholds import distinct
from falaj.training.original import Thresholds

Indexes = NDArray[np.int64]
ZERO = float(np.float32(1e-35))  # LightGBM's
# What makes scores of sums: see `link_graph`.
Link = Literal["identity", "sigmoid", "sigmoids", "softmax", "exp", "signed_square", "log1pexp", "shares"]


class Rule(IntEnum):
    """Which values of a node's feature go to `yes`. The numbers are TreeEnsemble's."""

    AT_MOST = 0  # x <= threshold
    BELOW = 1  # x < threshold
    MEMBER = 6  # x is one of the node's members


@dataclass(frozen=True)
class Tree:
    """One tree; node 0 is the root. No two nodes have one inner node next.

    Attributes:
        feature, threshold, rule, missing: Of each inner node: the column of x, FP64, a `Rule`, and whether
            NaN goes to `yes`.
        yes, no: Of each inner node: the next one, or ~leaf.
        members: Of each inner node: integers, ascending; () where the rule is not MEMBER.
        leaves: FP64 [leaves, width]: what each adds to the outputs from `output` on.
    """

    feature: Indexes
    threshold: NDArray[np.float64]
    rule: NDArray[np.uint8]
    missing: NDArray[np.bool_]
    yes: Indexes
    no: Indexes
    members: tuple[tuple[int, ...], ...]
    leaves: NDArray[np.float64]
    output: int = 0


@dataclass(frozen=True)
class Forest:
    """Trees whose leaves are summed for each row, in their order, from the base on.

    Attributes:
        features: Number of columns of x.
        outputs: Number of sums.
        base: FP64 [outputs].
        divisor: By which the sums are divided.
        compares: The datatype that the library makes of x before it compares it.
        sums: The datatype that it sums in.
        link, slope: What makes scores of the sums; `slope` is the sigmoids'.
        truncated: Columns of which only the integer part counts, where members are looked for.
        zeros: Columns of which zeros, no further from 0 than ZERO, are NaN.
        whole: Columns of which numbers that are not whole are NaN.
    """

    trees: tuple[Tree, ...]
    features: int
    outputs: int
    base: NDArray[np.float64]
    divisor: float = 1.0
    compares: Literal["FP32", "FP64"] = "FP64"
    sums: Literal["FP32", "FP64"] = "FP64"
    link: Link = "identity"
    slope: float = 1.0
    truncated: tuple[int, ...] = ()
    zeros: tuple[int, ...] = ()
    whole: tuple[int, ...] = ()


def constant(values: NDArray[np.float64], output: int = 0) -> Tree:
    """Return a tree that adds the same to every row."""
    return Tree(
        feature=np.zeros(1, np.int64),
        threshold=np.zeros(1),
        rule=np.array([Rule.AT_MOST], np.uint8),
        missing=np.zeros(1, np.bool_),
        yes=np.array([~0]),
        no=np.array([~0]),
        members=((),),
        leaves=values.reshape(1, -1).astype(np.float64),
        output=output,
    )


def tree(
    feature: Indexes,
    threshold: NDArray[np.float64],
    missing: NDArray[np.bool_],
    yes: Indexes,
    no: Indexes,
    leaves: NDArray[np.float64],
    output: int = 0,
    rule: Rule = Rule.AT_MOST,
) -> Tree:
    """Return a tree all of whose nodes have one rule, not MEMBER; of one leaf where there is no node."""
    if not len(feature):
        return constant(leaves[:1], output)
    rules = np.full(len(feature), rule, np.uint8)
    members: tuple[tuple[int, ...], ...] = ((),) * len(feature)
    return Tree(feature, threshold, rules, missing, yes, no, members, leaves, output)


@dataclass
class Node:
    """An inner node of a tree that is being made; see `Tree`."""

    feature: int
    threshold: float
    yes: int
    no: int
    rule: Rule = Rule.AT_MOST
    missing: bool = False
    members: tuple[int, ...] = ()


def tree_of_nodes(nodes: Sequence[Node], leaves: NDArray[np.float64], output: int = 0) -> Tree:
    """Return a tree of one node or more."""
    return Tree(
        feature=np.array([one.feature for one in nodes], np.int64),
        threshold=np.array([one.threshold for one in nodes], np.float64),
        rule=np.array([one.rule for one in nodes], np.uint8),
        missing=np.array([one.missing for one in nodes], np.bool_),
        yes=np.array([one.yes for one in nodes], np.int64),
        no=np.array([one.no for one in nodes], np.int64),
        members=tuple(one.members for one in nodes),
        leaves=leaves,
        output=output,
    )


def thresholds(forest: Forest, input: str, columns: int) -> tuple[Thresholds, ...]:
    """Return what the first `columns` columns are compared with, of an input that is the forest's x."""
    found: list[Thresholds] = []
    if not forest.trees:
        return ()
    for rule in (Rule.AT_MOST, Rule.BELOW):
        parting = [(one.rule == rule) & (one.yes != one.no) for one in forest.trees]
        pairs = list(zip(forest.trees, parting, strict=True))
        feature = np.concatenate([one.feature[nodes] for one, nodes in pairs])
        value = np.concatenate([one.threshold[nodes] for one, nodes in pairs])
        edge = -ZERO if rule is Rule.BELOW else ZERO
        for column in np.unique([*feature, *forest.zeros]):
            edges = [edge] if column in forest.zeros else []
            values = distinct(np.array([*value[feature == column], *edges]))
            values = values[np.isfinite(values)]  # at most an infinity: any but NaN
            if column >= columns or not len(values):
                continue
            found.append(Thresholds(input, int(column), values, rule is Rule.AT_MOST))
    return tuple(found)


def places(leaf: NDArray[np.bool_]) -> Indexes:
    """Return for each of a tree's nodes its place among the inner ones, or ~place among the leaves."""
    return np.where(leaf, ~(np.cumsum(leaf) - 1), np.cumsum(~leaf) - 1)

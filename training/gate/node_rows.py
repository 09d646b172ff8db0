"""For every node of the trees in a graph, rows that come to it, with their value moved across it.

A comparison matters to the rows that reach its node. Which do is read off the graph: what its trees take is
computed by ONNX Runtime, and rows are sent down the trees. Nothing about right or wrong is taken from there.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from falaj.training.gate.boundaries import Tried, window_edit, window_set
from falaj.training.gate.graph_features import Graph, Source
from falaj.training.gate.hostile import UNSEEN
from falaj.training.gate.neighbours import WINDOW, at_places, next_above, next_below, places, windows
from falaj.training.gate.rows import Edit, Indices, RowSet, concatenated, count, flat, take
from falaj.training.gate.tree_nodes import TreeNodes
from falaj.training.original import Arrays, Original

_STEPS = 2_000_000  # of rows through trees: so many rows are sent down that there are about so many
_LEAST = 256  # rows that are sent down at least
_MADE = 20_000  # rows that are made for nodes to which no real row comes
_BISECTED = 4000  # nodes of a feature whose place is found by bisection


def node_windows(
    graph: Graph, original: Original, rows: Arrays, rng: np.random.Generator, most: int
) -> tuple[list[RowSet], Tried]:
    """Return at most so many rows at the nodes of a graph's trees, each made of a row that comes to it.

    Each node of a number has windows in two such rows, and one without the value; each of a category has one
    with every category, with none and with an unknown one.
    """
    sources = graph.sources(rows, rng)
    trees = max(1, sum(each.roots.size for each in graph.ensembles))
    seen = take(rows, rng.permutation(count(rows))[: max(_LEAST, _STEPS // trees)])
    branches = sum(each.branches.size for each in graph.ensembles)
    share = min(1.0, most / max(1, branches * WINDOW * 2))
    made: list[RowSet] = []
    there = tried = 0
    for each in graph.ensembles:
        crossings = _Crossings(graph, each, sources[each.tensor], original, rng, most // 4)
        crossings.visit(seen)
        reached = each.branches[crossings.visitors[each.branches, 0] >= 0]
        there += reached.size
        if share < 1:
            reached = np.sort(rng.choice(reached, int(reached.size * share), replace=False))
        tried += crossings.cross(reached)
        made += crossings.sets()
    return made, Tried("nodes that rows can come to", tried, there)


@dataclass
class _Crossings:
    """One ensemble's nodes, and the rows that are made for them.

    Attributes:
        most: Rows for one input of categories; if there would be more, nodes are a random choice.
        seen: Rows, of which `visitors` [nodes, 2] come to the nodes.
    """

    graph: Graph
    trees: TreeNodes
    sources: dict[int, Source]
    original: Original
    rng: np.random.Generator
    most: int
    seen: Arrays = field(default_factory=dict)
    visitors: Indices = field(default_factory=lambda: np.empty((0, 2), np.int64))
    numbers: list[Edit] = field(default_factory=list)
    pairs: list[Edit] = field(default_factory=list)
    blanks: list[Edit] = field(default_factory=list)

    def visit(self, rows: Arrays) -> None:
        """Find who comes to each node; where no row does, change one that comes to the node above."""
        self.seen = rows
        self.visitors = self.trees.visitors(self.graph.features(rows)[self.trees.tensor], self.rng)
        made = 0
        while made < _MADE:
            edits = self._led_down(_MADE - made)
            if not edits:
                return
            new = concatenated([edit.rows(self.seen) for edit in edits])
            found = self.trees.visitors(self.graph.features(new)[self.trees.tensor], self.rng)
            missing = (self.visitors[:, 0] < 0) & (found[:, 0] >= 0)
            if not missing.any():
                return
            self.visitors[missing] = found[missing] + count(self.seen)
            self.seen = concatenated([self.seen, new])
            made += count(new)

    def _led_down(self, most: int) -> list[Edit]:
        """Rows that come to a node, changed so as to go on to the one below that none comes to."""
        trees = self.trees
        parents = trees.branches[self.visitors[trees.branches, 0] >= 0]
        edits = []
        for child_of in (trees.yes, trees.no):
            above = parents[np.isin(child_of[parents], trees.branches)]
            above = above[self.visitors[child_of[above], 0] < 0][:most]
            for feature in np.unique(trees.feature[above]).tolist():
                source = self.sources.get(feature)
                if source is None or not source.direct:
                    continue
                some = above[trees.feature[above] == feature]
                points = windows(trees.value[some], self.seen[source.input].dtype)
                goes = np.stack([trees.next_nodes(some, point) for point in points.T], axis=1)
                leads = goes == child_of[some][:, None]
                value = points[np.arange(some.size), leads.argmax(axis=1)]
                column = np.full(some.size, source.column)
                edits.append(Edit(source.input, self.visitors[some, 0], column, value))
        return edits

    def cross(self, nodes: Indices) -> int:
        """Make rows for these nodes; return at how many there now are some."""
        done = 0
        for feature in np.unique(self.trees.feature[nodes]).tolist():
            source = self.sources.get(feature)
            if source is None:
                continue
            some = nodes[self.trees.feature[nodes] == feature]
            dtype = self.seen[source.input].dtype
            if dtype.kind == "O":
                done += self._cross_categories(source, some)
            elif dtype.kind in "fiu":
                done += self._cross_numbers(source, some)
        return done

    def _cross_numbers(self, source: Source, nodes: Indices) -> int:
        first = self.visitors[nodes, 0]
        column = np.full(nodes.size, source.column)
        dtype = self.seen[source.input].dtype
        if dtype.kind == "f":
            self.blanks.append(Edit(source.input, first, column, np.full(nodes.size, np.nan, dtype)))
        if source.direct:
            node, value = self.trees.compared_with(nodes)
            bases = self.visitors[node].ravel()
            points = np.repeat(windows(value, dtype), 2, axis=0)
            columns = np.full(bases.size, source.column)
            self.numbers.append(window_edit(source.input, bases, columns, points))
            return int(nodes.size)
        edit, found = _bisected(self.graph, self.trees, source, self.seen, nodes, first)
        self.numbers += [edit] if edit is not None else []
        return found

    def _cross_categories(self, source: Source, nodes: Indices) -> int:
        first = self.visitors[nodes, 0]
        column = np.full(nodes.size, source.column)
        for value in ("", UNSEEN[0]):
            self.blanks.append(Edit(source.input, first, column, np.full(nodes.size, value, object)))
        known = np.array(self.original.categories.get(source.input, ()), object)
        if known.size < 2:
            return 0
        if nodes.size * known.size * 2 > self.most:
            nodes = np.sort(self.rng.choice(nodes, max(1, self.most // (known.size * 2)), replace=False))
            first = self.visitors[nodes, 0]
        # One category after the other: each step between two is one that both models take, or neither.
        steps = np.stack([known[:-1], known[1:]], axis=1).ravel()
        base = np.repeat(first, steps.size)
        values = np.tile(steps, nodes.size)
        self.pairs.append(Edit(source.input, base, np.full(base.size, source.column), values))
        return int(nodes.size)

    def sets(self) -> list[RowSet]:
        """Return the rows that were made."""
        wanted = [
            window_set("nodes", self.numbers, self.seen),
            window_set("category nodes", self.pairs, self.seen, window=2),
        ]
        if self.blanks:
            groups = np.concatenate([edit.column for edit in self.blanks])
            rows = concatenated([edit.rows(self.seen) for edit in self.blanks])
            wanted.append(RowSet("nodes without a value", rows, groups))
        return [each for each in wanted if each is not None]


def _bisected(
    graph: Graph, trees: TreeNodes, source: Source, seen: Arrays, nodes: Indices, bases: Indices
) -> tuple[Edit | None, int]:
    """Windows where a feature that is calculated from a column crosses its nodes' values."""
    real = flat(seen[source.input])[:, source.column]
    finite = real[np.isfinite(real)]
    if not finite.size:
        return None, 0
    nodes, bases = nodes[:_BISECTED], bases[:_BISECTED]
    span = finite.max() - finite.min() + np.ones((), real.dtype)
    column = np.full(nodes.size, source.column)

    def goes(where: NDArray[np.int64]) -> NDArray[np.bool_]:
        value = at_places(where, real.dtype)
        made = Edit(source.input, bases, column, value).rows(seen)
        feature = graph.features(made)[trees.tensor][np.arange(nodes.size), trees.feature[nodes]]
        return np.asarray(trees.next_nodes(nodes, feature) == trees.yes[nodes])

    low = np.repeat(places(np.atleast_1d(finite.min() - span)), nodes.size)
    high = np.repeat(places(np.atleast_1d(finite.max() + span)), nodes.size)
    first = goes(low)
    crossing = first != goes(high)
    while ((high - low)[crossing] > 1).any():
        middle = low + (high - low) // 2
        same = goes(middle) == first
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    below, above = at_places(low, real.dtype)[crossing], at_places(high, real.dtype)[crossing]
    points = np.stack([next_below(below), below, above, next_above(above)], axis=1)
    return window_edit(source.input, bases[crossing], column[crossing], points), int(crossing.sum())

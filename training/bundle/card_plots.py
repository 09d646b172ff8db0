"""The plots of a model card, as PNG. Figures are objects of their own: nothing is shared, or shown."""

import warnings
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.errors import TrainingError
from falaj.training.fit.bootstrap import Measures
from falaj.training.fit.metrics import Predicted

DOTS = 144  # per inch: twice what a page shows
_BLUE, _ORANGE, _GREY, _PALE = "#1f5fbf", "#c2570c", "#6e7781", "#d0d7de"
_MOST_CURVES = 10
_MOST_POINTS = 400  # of a curve, and more than the eye tells apart
_MOST_DOTS = 5_000
_MOST_BARS = 20
_LONGEST = 28  # of a label
_BINS = 10


def roc(predicted: Predicted, classes: Sequence[int | str]) -> bytes:
    """Draw true over false positives by threshold; of more than two classes each against the rest."""
    figure, axes = _figure(4.2, 4.0)
    shown = [1] if predicted.task == "binary" else range(min(len(classes), _MOST_CURVES))
    for place in shown:
        is_class = predicted.target == place
        if is_class.all() or not is_class.any():
            continue
        false, true, area = roc_curve(predicted.scores[:, place], is_class)
        label = f"{_short(str(classes[place]))}: AUC {area:.3f}"
        colour = {"color": _BLUE} if predicted.task == "binary" else {}
        axes.plot(false, true, linewidth=1.6, label=label, **colour)
    axes.plot([0, 1], [0, 1], color=_PALE, linewidth=1, zorder=0)
    axes.set_xlabel("false positive rate")
    axes.set_ylabel("true positive rate")
    axes.set_aspect("equal")
    _legend(axes, "lower right")
    return _png(figure)


def calibration(predicted: Predicted) -> bytes:
    """Draw how often what was said came true, by tenths of the rows, with 95 % intervals (Wilson)."""
    said, true = _claims(predicted)
    order = np.argsort(said, kind="stable")
    parts = [part for part in np.array_split(order, _BINS) if len(part)]
    means = np.array([said[part].mean() for part in parts])
    shares = np.array([true[part].mean() for part in parts])
    bounds = np.array([wilson(int(true[part].sum()), len(part)) for part in parts]).T
    figure, axes = _figure(4.2, 4.0)
    axes.plot([0, 1], [0, 1], color=_PALE, linewidth=1, zorder=0)
    spread = np.abs(bounds - shares)
    axes.errorbar(means, shares, yerr=spread, color=_BLUE, marker="o", markersize=4, linewidth=1.2, capsize=2)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_aspect("equal")
    axes.set_xlabel("what the model said")
    axes.set_ylabel("share that came true")
    return _png(figure)


def residuals(predicted: Predicted) -> bytes:
    """Draw what a regression said over what was true, and its errors; of at most 5,000 rows."""
    said, true = predicted.scores[:, 0], predicted.target
    shown = np.random.default_rng(0).permutation(len(true))[:_MOST_DOTS]
    figure = _blank(8.4, 3.8)
    left, right = figure.subplots(1, 2)
    for axes in (left, right):
        _plain(axes)
    left.plot(true[shown], said[shown], ".", color=_BLUE, markersize=3, alpha=0.5)
    ends = [float(min(true.min(), said.min())), float(max(true.max(), said.max()))]
    left.plot(ends, ends, color=_GREY, linewidth=1)
    left.set_xlabel("what was true")
    left.set_ylabel("what the model said")
    right.hist(said - true, bins=50, color=_BLUE)
    right.axvline(0, color=_GREY, linewidth=1)
    right.set_xlabel("said - true")
    right.set_ylabel("rows")
    return _png(figure)


def importance(columns: Mapping[str, tuple[float, float]], metric: str) -> bytes:
    """Draw how much a metric rose by column, of those with most, with standard deviations."""
    shown = list(columns.items())[:_MOST_BARS][::-1]
    figure, axes = _figure(6.4, 0.9 + 0.26 * len(shown))
    means, spread = [mean for _, (mean, _) in shown], [deviation for _, (_, deviation) in shown]
    axes.barh(range(len(shown)), means, xerr=spread, color=_BLUE, ecolor=_GREY, height=0.7)
    _label(axes.set_yticks, range(len(shown)), [name for name, _ in shown])
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.axvline(0, color=_GREY, linewidth=1)
    axes.set_xlabel(f"rise of {metric} when the column is permuted")
    return _png(figure)


def by_value(measures: Mapping[str, Measures], metric: str, overall: float | None, title: str) -> bytes:
    """Draw a metric, where it is defined, of each month or value of a segment, and that of all rows."""
    names = list(measures)
    found = [each.metrics[metric] for each in measures.values()]
    values = np.array([each.value for each in found], np.float64)
    low = np.array([each.value if each.low is None else each.low for each in found], np.float64)
    high = np.array([each.value if each.high is None else each.high for each in found], np.float64)
    spread = np.maximum([values - low, high - values], 0)
    figure, axes = _figure(width_of(len(names)), 3.4)
    axes.errorbar(range(len(names)), values, yerr=spread, color=_BLUE, marker="o", markersize=4,
                  linestyle="none", linewidth=1.2, capsize=2)  # fmt: skip
    if overall is not None:
        axes.axhline(overall, color=_ORANGE, linewidth=1)
    _label(axes.set_xticks, range(len(names)), [name or "(none)" for name in names], rotation=60, ha="right")
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_ylabel(metric)
    axes.set_title(_short(title), fontsize=9, parse_math=False)
    return _png(figure)


def width_of(values: int) -> float:
    """Return how wide a plot of so many values is, in inches."""
    return max(3.4, 1.6 + 0.42 * values)


def roc_curve(
    scores: NDArray[np.float64], positive: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Return false and true positive rates by falling threshold, and the area below, by trapezia.

    Rows of one score are one step. The area is of all steps; of the curve at most 400 points are returned.
    """
    order = np.argsort(-scores, kind="stable")
    ordered, hit = scores[order], positive[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    true = np.concatenate([[0.0], np.cumsum(hit)[ends] / hit.sum()])
    false = np.concatenate([[0.0], np.cumsum(~hit)[ends] / (~hit).sum()])
    area = float(np.sum(np.diff(false) * (true[1:] + true[:-1]) / 2))
    kept = np.unique(np.linspace(0, len(true) - 1, min(len(true), _MOST_POINTS)).astype(int))
    return false[kept], true[kept], area


def wilson(hits: int, rows: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927)."""
    z = 1.959963984540054
    share, square = hits / rows, z * z / rows
    middle = (share + square / 2) / (1 + square)
    half = z * float(np.sqrt(share * (1 - share) / rows + square / (4 * rows))) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)


def _claims(predicted: Predicted) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The score of the second of two classes and whether it was it; of more, of the class with the most."""
    if predicted.task == "binary":
        return predicted.scores[:, 1], predicted.target == 1
    said = predicted.scores.argmax(axis=1)
    return predicted.scores.max(axis=1), said == predicted.target


def _blank(width: float, height: float) -> Any:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise TrainingError(
            f"model card: plots need matplotlib: pip install 'falaj[training]' ({error})"
        ) from error
    figure = Figure(figsize=(width, height), dpi=DOTS, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _figure(width: float, height: float) -> tuple[Any, Any]:
    figure = _blank(width, height)
    axes = figure.subplots()
    _plain(axes)
    return figure, axes


def _plain(axes: Any) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.xaxis.label.set_size(9)
    axes.yaxis.label.set_size(9)


def _legend(axes: Any, where: str) -> None:
    for text in axes.legend(loc=where, fontsize=8, frameon=False).get_texts():
        text.set_parse_math(False)


def _label(set_ticks: Any, places: range, names: Sequence[str], **more: Any) -> None:
    ticks = set_ticks(places, [_short(name) for name in names], **more)
    for tick in ticks:
        for text in (tick.label1, tick.label2):
            text.set_parse_math(False)  # a name may have a $


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _png(figure: Any) -> bytes:
    written = BytesIO()
    with warnings.catch_warnings():
        # A name in a script that the font does not have is drawn as boxes; the tables have it.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure.savefig(written, format="png", metadata={"Software": None})
    return written.getvalue()

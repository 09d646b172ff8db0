"""A model card: what a model is, what it was made of, how good it is, and where it ends."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from falaj.features.binding import Binding, Feature
from falaj.features.view import Tags
from falaj.training.bundle import card_plots
from falaj.training.bundle.baseline import Baseline, Category, ColumnBaseline
from falaj.training.bundle.bundle import PAGE, CardText
from falaj.training.bundle.document import (
    Block,
    Heading,
    Items,
    Paragraph,
    Picture,
    Table,
    as_html,
    as_markdown,
)
from falaj.training.bundle.evaluation import Evaluation
from falaj.training.bundle.importance import Importance
from falaj.training.bundle.snapshot import Snapshot
from falaj.training.fit.bootstrap import Measured, Measures
from falaj.training.fit.metrics import default_metric, metrics_of
from falaj.training.original import Original

_MOST_ROWS = 60  # of a table
_MOST_DRAWN = 24  # values of a segment, in a plot


@dataclass(frozen=True)
class Steward:
    """Who answers for a view, and what governs its use."""

    owner: str
    tags: Tags


@dataclass(frozen=True)
class Card:
    """What a card tells of a model.

    Attributes:
        parity: What the gate said, a line each.
        evaluation: None where nobody knows what came of the rows.
        importance: The same.
        stewards: By view, as far as its registry is at hand.
        purpose, owner: Of the model, as whoever exports it says.
        limits: What else is known of where it ends.
    """

    name: str
    original: Original
    baseline: Baseline
    parity: Sequence[str]
    versions: Mapping[str, str]
    snapshot: Snapshot | None = None
    evaluation: Evaluation | None = None
    importance: Importance | None = None
    binding: Binding | None = None
    stewards: Mapping[str, Steward] = field(default_factory=lambda: MappingProxyType({}))
    transforms: Sequence[str] = ()
    purpose: str = ""
    owner: str = ""
    limits: Sequence[str] = ()


def card_text(card: Card) -> CardText:
    """Return a card as Markdown, and as a page with its plots in it.

    Raises:
        TrainingError: Plots need a package that is not installed.
    """
    blocks = list(card_blocks(card))
    return CardText(as_markdown(blocks, PAGE), as_html(blocks, f"{card.name}: model card"))


def card_blocks(card: Card) -> Iterator[Block]:
    """Return what a card has, in order."""
    yield Heading(card.name, 1)
    yield from _what(card)
    yield from _data(card.snapshot)
    yield from _quality(card)
    yield from _importance(card.importance)
    yield Heading("Parity")
    yield Paragraph(
        "The exported graph was run by Falaj's own engine and held against the original model, on the rows "
        "below and on hostile ones made of them."
    )
    yield Items(card.parity)
    yield from _features(card)
    yield from _columns(card.baseline)
    yield from _limits(card)
    yield Heading("Versions")
    yield Table(("package", "version"), [[name, version] for name, version in card.versions.items()])


def _what(card: Card) -> Iterator[Block]:
    original = card.original
    kind = {"binary": "classifier of two classes", "multiclass": "classifier", "other": "model"}
    told = f"A {kind.get(original.task, original.task)} of the family {original.family}"
    yield Paragraph(told + (f", exported from {original.origin}." if original.origin else "."))
    facts = [
        ["purpose", card.purpose],
        ["owner", card.owner],
        ["classes", ", ".join(map(str, original.classes))],
        ["computed at request time", ", ".join(card.transforms)],
    ]
    if any(value for _, value in facts):
        yield Table(("", ""), [fact for fact in facts if fact[1]])
    tensors = [["input", each.name, each.datatype, _shape(each.shape), ""] for each in original.inputs]
    tensors += [
        ["output", each.name, each.datatype, _shape(each.shape), each.role] for each in original.outputs
    ]
    yield Table(("", "name", "datatype", "shape", "is"), tensors)


def _data(snapshot: Snapshot | None) -> Iterator[Block]:
    yield Heading("Data")
    if snapshot is None:
        yield Paragraph("What it was fitted on was not told.")
        return
    fitted = snapshot.splits.get("train", {}).get("rows", snapshot.rows)
    when = f", of {snapshot.first} to {snapshot.last}" if snapshot.first and snapshot.last else ""
    yield Paragraph(f"{snapshot.rows:,} rows; fitted on {fitted:,}{when}. Snapshot {snapshot.hash}.")
    files = [[file.path, f"{file.bytes:,}", file.sha256] for file in snapshot.files]
    if snapshot.manifest:
        files.append(["(manifest of the feature export)", "", snapshot.manifest])
    yield Table(("file", "bytes", "sha256"), files[:_MOST_ROWS], _cut(files, "files"))
    if snapshot.splits:
        names = list(dict.fromkeys(name for told in snapshot.splits.values() for name in told))
        rows = [[part, *(_told(told.get(name)) for name in names)] for part, told in snapshot.splits.items()]
        yield Table(("part", *names), rows)


def _quality(card: Card) -> Iterator[Block]:
    yield Heading("Quality")
    evaluation = card.evaluation
    if evaluation is None:
        yield Paragraph("Not measured: nobody told what came of the rows.")
        return
    overall, task = evaluation.overall, card.original.task
    drawn = "rows" if overall.blocks == "row" else f"rows, a {overall.blocks} at once"
    yield Paragraph(
        f"On {overall.rows:,} rows: {evaluation.asked.told}. "
        f"Intervals are of 95 %, by the bootstrap over {drawn}."
    )
    yield Table(
        ("metric", "value", "95 % interval"),
        [[name, _number(of.value), _interval(of)] for name, of in overall.metrics.items()],
    )
    predicted = evaluation.asked.predicted
    if task == "regression":
        told = "What it said over what was true, and its errors."
        yield Picture(card_plots.residuals(predicted), 780, told)
    else:
        yield Picture(card_plots.roc(predicted, card.original.classes), 390, "ROC.")
        of = "the second class" if task == "binary" else "the class with the highest score"
        told = f"Calibration: the score of {of} and how often it was it, by tenths of the rows."
        yield Picture(card_plots.calibration(predicted), 390, told)
    yield from _by_value(evaluation, evaluation.months, "month")
    for column, values in evaluation.segments.items():
        yield from _by_value(evaluation, values, column)


def _by_value(evaluation: Evaluation, of: Mapping[str, Measures], title: str) -> Iterator[Block]:
    if not of:
        return
    task = evaluation.asked.predicted.task
    metrics = metrics_of(task)[:3]
    for shown in dict.fromkeys((default_metric(task), metrics[0])):
        drawn = {value: each for value, each in of.items() if each.metrics[shown].value is not None}
        if len(drawn) > 1:
            drawn = dict(list(drawn.items())[:_MOST_DRAWN])
            overall = evaluation.overall.metrics[shown].value
            told = f"{shown} by {title}; the line is that of all rows."
            picture = card_plots.by_value(drawn, shown, overall, f"by {title}")
            yield Picture(picture, int(card_plots.width_of(len(drawn)) * 93), told)
    rows = [
        [value or "(none)", f"{each.rows:,}", *(_with_interval(each.metrics[name]) for name in metrics)]
        for value, each in of.items()
    ]
    yield Table((title, "rows", *metrics), rows[:_MOST_ROWS], _cut(rows, "values"))


def _importance(importance: Importance | None) -> Iterator[Block]:
    yield Heading("Importance")
    if importance is None:
        yield Paragraph("Not measured: nobody told what came of the rows.")
        return
    yield Paragraph(
        f"By permutation: by how much {importance.metric} rises when a column's values change places, on "
        f"{importance.rows:,} of the rows above, {importance.times} times. "
        "Columns that tell the same share it."
    )
    yield Picture(
        card_plots.importance(importance.columns, importance.metric), 600, "Permutation importance."
    )
    rows = [
        [name, _number(mean), _number(deviation)] for name, (mean, deviation) in importance.columns.items()
    ]
    yield Table(
        ("column", f"rise of {importance.metric}", "standard deviation"),
        rows[:_MOST_ROWS],
        _cut(rows, "columns"),
    )


def _features(card: Card) -> Iterator[Block]:
    yield Heading("Features")
    if card.binding is None:
        yield Paragraph("It looks nothing up: requests bring all inputs.")
        return
    rows = []
    for bound in card.binding.views:
        view, steward = bound.view, card.stewards.get(bound.view.name)
        columns = [of.column for of in card.binding.features if of.view == view.name]
        tags = steward.tags if steward else Tags()
        rows.append(
            [
                f"{view.name}@{view.version}",
                ", ".join(view.entity.keys),
                ", ".join(columns),
                bound.on_missing,
                steward.owner if steward else "",
                tags.purpose,
                tags.sensitivity,
                tags.jurisdiction,
            ]
        )
    head = ("view", "by", "columns", "where missing", "owner", "purpose", "sensitivity", "jurisdiction")
    yield Table(head, rows)
    for bound_input in card.binding.inputs:
        columns = [str(column) for column in bound_input.columns]
        yield Paragraph(f"Input {bound_input.name}, from left to right: {', '.join(columns)}.")
    if not any(isinstance(column, Feature) for each in card.binding.inputs for column in each.columns):
        return
    found = [
        [
            f"{of.view}__{of.column}",
            *(f"{of.statuses[status]:,}" for status in ("present", "missing", "expired")),
            f"{of.nulls:,}",
        ]
        for of in card.baseline.features
    ]
    if found:
        yield Table(("feature", "present", "missing", "expired", "null"), found, "As the store told them.")


def _columns(baseline: Baseline) -> Iterator[Block]:
    yield Heading("Inputs and outputs in the reference")
    yield Paragraph("The bins and counts that drift is told by are in baseline.json.")
    columns = [*baseline.inputs, *baseline.outputs]
    rows = [[_named(of), of.datatype, f"{of.rows:,}", _share(of), _range(of)] for of in columns[:_MOST_ROWS]]
    yield Table(("column", "datatype", "rows", "missing", "values"), rows, _cut(columns, "columns"))


def _limits(card: Card) -> Iterator[Block]:
    yield Heading("Limits")
    limits = list(card.limits)
    if card.snapshot is not None and card.snapshot.last:
        limits.append(
            f"It was fitted on what had happened by {card.snapshot.last}; it knows of nothing since."
        )
    numbers = any(not isinstance(of.reference, Category) for of in card.baseline.inputs)
    if numbers:
        limits.append("Numbers outside the ranges above were not in the reference: answers are guesses.")
    for name in card.original.categories:
        limits.append(f"Any value of {name} that training did not have is answered as if it had none.")
    if card.evaluation is not None and not card.evaluation.segments:
        limits.append("Its errors were not told apart by any group of people or things.")
    if card.evaluation is None:
        limits.append("How good it is was not measured when it was exported.")
    yield Items(limits)


def _named(of: ColumnBaseline) -> str:
    return of.name if of.name == of.tensor else f"{of.tensor}: {of.name}"


def _share(of: ColumnBaseline) -> str:
    counts = of.reference.counts
    return f"{counts.missing / counts.total:.1%}" if counts.missing else "none"


def _range(of: ColumnBaseline) -> str:
    reference = of.reference
    if isinstance(reference, Category):
        first = ", ".join(map(str, reference.levels.levels[:5]))
        return f"{reference.levels.distinct:,} different" + (f": {first}" if first else "")
    if reference.bins.minimum is None:
        return "none"
    return f"{_number(reference.bins.minimum)} to {_number(reference.bins.maximum)}"


def _shape(shape: tuple[int, ...]) -> str:
    return "[" + ", ".join(["rows", *map(str, shape)]) + "]"


def _with_interval(of: Measured) -> str:
    interval = _interval(of)
    return f"{_number(of.value)} ({interval})" if interval else _number(of.value)


def _interval(of: Measured) -> str:
    return "" if of.low is None or of.high is None else f"{_number(of.low)} to {_number(of.high)}"


def _number(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.4g}"


def _told(value: Any) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _cut(rows: Sequence[Any], of: str) -> str:
    return f"The first {_MOST_ROWS} of {len(rows):,} {of}." if len(rows) > _MOST_ROWS else ""

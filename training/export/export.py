"""From a fitted model to a bundle that serves it: convert, prove, describe, write."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from falaj.features.binding import Binding
from falaj.features.transform import Transform
from falaj.training.bundle.baseline import Baseline, FeatureRows, baseline_of
from falaj.training.bundle.bundle import Proof, check_model_name, write_bundle
from falaj.training.bundle.card import Card, Steward, card_text
from falaj.training.bundle.evaluation import Evaluation
from falaj.training.bundle.importance import Importance
from falaj.training.bundle.libraries import library_versions
from falaj.training.bundle.snapshot import Snapshot
from falaj.training.export.lookup import check_binding
from falaj.training.export.transformed import transformed_model, transformed_original
from falaj.training.original import Arrays, Original

if TYPE_CHECKING:
    from falaj.training.gate.parity_report import ParityReport

# Is told what is done now.
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Subject:
    """A model that is to be exported, with what is known of it.

    Attributes:
        original: Without transforms.
        transforms: Run before it, in this order, in the same graph.
        rows: That it was fitted on, as requests bring them or look-ups give them: what transforms and the
            model take. They are the reference of drift, and what the gate starts from.
        answers: Outputs for rows that it was not fitted on, whose scores are as those in service will be;
            None: those for `rows`.
        versions: Of libraries, as training recorded them.
        limits: What is known of where it ends, for the card.
    """

    original: Original
    rows: Arrays
    transforms: Sequence[Transform] = ()
    answers: Arrays | None = None
    snapshot: Snapshot | None = None
    evaluation: Evaluation | None = None
    importance: Importance | None = None
    binding: Binding | None = None
    features: Sequence[FeatureRows] = ()
    stewards: Mapping[str, Steward] = field(default_factory=lambda: MappingProxyType({}))
    versions: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    purpose: str = ""
    owner: str = ""
    limits: Sequence[str] = ()

    @property
    def served(self) -> Original:
        """The model as requests see it, with its transforms."""
        if not self.transforms:
            return self.original
        return transformed_original(self.original, self.transforms)


@dataclass(frozen=True)
class Exported:
    """An export that passed the gate.

    Attributes:
        folder: The version's, in the repository.
    """

    folder: Path
    parity: "ParityReport"


def export(
    subject: Subject,
    repository: Path,
    name: str,
    *,
    most_rows: int | None = None,
    seed: int = 0,
    tell: Tell | None = None,
) -> Exported:
    """Convert a model, hold it against the original, and write the next version of `name`.

    Args:
        most_rows: That the gate takes of the subject's, evenly spaced; None: all.
        seed: Of what the gate chooses at random.
        tell: Is told what is done.

    Raises:
        ExportRefused: The graph does not answer as the original; the message has rows. Nothing is written.
        TrainingError: It cannot be converted, what is told of it does not fit, or the disk refuses.
    """
    from falaj.training.gate.parity import require_parity
    from falaj.training.graph.convert import to_onnx

    check_model_name(name)
    say: Tell = tell or (lambda what: None)
    served = subject.served
    if subject.binding is not None:
        check_binding(served, subject.binding)
    say("converting")
    model = to_onnx(subject.original)
    if subject.transforms:
        model = transformed_model(model, subject.original, subject.transforms)
    parity = require_parity(
        served,
        model,
        _spaced(subject.rows, most_rows),
        seed=seed,
        progress=lambda what: say(f"proving: {what}"),
    )
    say("describing")
    answers = subject.answers if subject.answers is not None else served.predict(subject.rows)
    baseline = baseline_of(served, subject.rows, answers, subject.features)
    versions = {**library_versions(served.family), **subject.versions}
    card = card_text(_card(name, subject, served, baseline, parity, versions))
    say("writing")
    folder = write_bundle(
        repository,
        name,
        original=served,
        model=model,
        baseline=baseline,
        card=card,
        proof=Proof(parity.plain(), subject.evaluation.plain() if subject.evaluation else ()),
        binding=subject.binding,
        snapshot=subject.snapshot,
        versions=versions,
    )
    return Exported(folder, parity)


def _card(
    name: str,
    subject: Subject,
    served: Original,
    baseline: Baseline,
    parity: "ParityReport",
    versions: Mapping[str, str],
) -> Card:
    return Card(
        name=name,
        original=served,
        baseline=baseline,
        parity=[line.strip() for line in parity.lines()],
        versions=versions,
        snapshot=subject.snapshot,
        evaluation=subject.evaluation,
        importance=subject.importance,
        binding=subject.binding,
        stewards=subject.stewards,
        transforms=[each.name for each in subject.transforms],
        purpose=subject.purpose,
        owner=subject.owner,
        limits=subject.limits,
    )


def _spaced(rows: Arrays, most: int | None) -> Arrays:
    """As many rows of the same places of each input, or all."""
    count = min((len(array) for array in rows.values()), default=0)
    if most is None or count <= most:
        return rows
    places = np.arange(most, dtype=np.int64) * count // most
    return {name: array[places] for name, array in rows.items()}

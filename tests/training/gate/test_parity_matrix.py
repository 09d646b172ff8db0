"""Every combination of model and data passes the gate, or is refused with the reason that it should be."""

import re
from collections.abc import Iterator

import pytest

from falaj.training.errors import TrainingError
from falaj.training.gate.parity import check_parity
from tests.training.gate.combinations import Combination, combinations
from tests.training.graph.threads import one_thread

# What libraries and converters warn of where they are used as they are meant to be.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:Found unknown categories"),
]
ALL = combinations()


@pytest.fixture(autouse=True, scope="module")
def _threads() -> Iterator[None]:
    with one_thread():
        yield


def test_combinations_are_at_least_forty_and_different_when_listed() -> None:
    assert len({str(each) for each in ALL}) == len(ALL) >= 40


@pytest.mark.parametrize("combination", [each for each in ALL if not each.refused], ids=str)
def test_export_passes_the_gate_when_it_answers_as_its_original(combination: Combination) -> None:
    made = combination.make()
    report = check_parity(made.original, made.model, made.rows)
    assert report.passed, list(report.lines())
    assert report.sets[0].compared == report.sets[0].alone == report.sets[0].rows > 0
    assert len(report.sets) > 5


@pytest.mark.parametrize("combination", [each for each in ALL if each.refused], ids=str)
def test_export_is_refused_with_its_reason_when_it_answers_otherwise(combination: Combination) -> None:
    reasons = refusals(combination)
    assert any(re.search(combination.refused, reason) for reason in reasons), reasons


def refusals(combination: Combination) -> list[str]:
    """Why one is refused: by the gate, or before, where no graph can be written."""
    try:
        made = combination.make()
    except TrainingError as error:
        return [str(error)]
    return list(check_parity(made.original, made.model, made.rows).reasons)

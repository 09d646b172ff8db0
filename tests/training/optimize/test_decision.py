"""The decision is a function of figures: no clock is read here."""

from math import comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falaj.training.errors import TrainingError
from falaj.training.optimize.bounds import Bounds, SpeedRules
from falaj.training.optimize.decision import Ratio, decide, median_interval, merit, ratio_of

_RULES = SpeedRules(batches=(1, 8, 128), decisive=(1, 8))
_COSTS = st.lists(st.floats(0.5, 2.0), min_size=6, max_size=40)


@settings(deadline=None)
@given(count=st.integers(6, 200), confidence=st.floats(0.5, 0.96))
def test_median_interval_is_the_narrowest_that_covers_when_counted_out(count: int, confidence: float) -> None:
    low, high = median_interval(count, confidence)

    def coverage(outer: int) -> float:
        return 1 - 2 * sum(comb(count, heads) for heads in range(outer + 1)) / 2**count

    assert high == count - 1 - low
    assert coverage(low) >= confidence
    assert low + 1 >= count / 2 or coverage(low + 1) < confidence


def test_median_interval_is_refused_when_rounds_are_too_few() -> None:
    with pytest.raises(ValueError, match="5 rounds: too few"):
        median_interval(5, 0.95)
    assert median_interval(6, 0.95) == (0, 5)


@settings(deadline=None)
@given(costs=_COSTS, factor=st.floats(0.1, 10))
def test_ratio_is_the_factor_when_every_round_is_slower_by_it(costs: list[float], factor: float) -> None:
    ratio = ratio_of(costs, [cost / factor for cost in costs], 0.95)
    assert ratio.low == pytest.approx(factor)
    assert ratio.high == pytest.approx(factor)
    assert ratio.median == pytest.approx(factor)


@settings(deadline=None)
@given(original=_COSTS, seed=st.randoms(use_true_random=False))
def test_ratio_is_the_same_when_rounds_change_places(original: list[float], seed: object) -> None:
    variant = [cost * 0.7 + 0.1 for cost in original]
    pairs = list(zip(original, variant, strict=True))
    seed.shuffle(pairs)  # type: ignore[attr-defined]
    ratio = ratio_of(original, variant, 0.95)
    assert ratio_of([a for a, _ in pairs], [b for _, b in pairs], 0.95) == ratio
    assert ratio.low <= ratio.median <= ratio.high


def test_ratio_is_refused_when_rounds_do_not_match() -> None:
    with pytest.raises(ValueError, match="zip"):
        ratio_of([1.0] * 6, [1.0] * 7, 0.95)


def test_variant_is_rejected_for_speed_when_it_is_slower_at_one_decisive_size() -> None:
    original = [1.0, 1.1, 0.9, 1.0, 1.2, 1.0, 1.0]
    slower = ratio_of(original, [cost * 1.3 for cost in original], 0.95)
    faster = ratio_of(original, [cost / 3 for cost in original], 0.95)
    verdict = decide((), {1: slower, 8: faster, 128: faster}, _RULES)
    assert not verdict.passes
    assert verdict.reasons == (
        "speed at 1 row: 0.77 (0.77..0.77) times the original's, expected more than 1.03 at the lower end",
    )


def test_variant_is_rejected_when_it_is_faster_in_the_median_but_not_for_certain() -> None:
    uncertain = ratio_of([1.0] * 7, [0.8, 0.9, 1.2, 0.7, 1.1, 0.9, 0.8], 0.95)
    assert uncertain.median > 1.1
    assert not decide((), {1: uncertain, 8: uncertain}, _RULES).passes


def test_variant_passes_when_it_is_slower_only_where_that_does_not_decide() -> None:
    fast, slow = Ratio(2.0, 1.9, 2.1), Ratio(0.5, 0.4, 0.6)
    assert decide((), {1: fast, 8: fast, 128: slow}, _RULES).passes


def test_variant_is_better_when_it_is_faster_for_certain_at_the_most_rows_that_decide() -> None:
    alone = {1: Ratio(1.75, 1.67, 1.79), 8: Ratio(1.42, 1.3, 1.64), 128: Ratio(9, 9, 9)}
    batched = {1: Ratio(1.24, 1.15, 1.36), 8: Ratio(1.69, 1.45, 1.75), 128: Ratio(1, 1, 1)}
    assert merit(alone, _RULES) < merit(batched, _RULES) == 1.45
    assert merit({1: Ratio(2.0, 1.9, 2.1)}, _RULES) == 1.9  # where the model is not batched


def test_variant_is_rejected_when_it_is_much_faster_and_outside_a_bound() -> None:
    fast = Ratio(3.0, 2.9, 3.1)
    verdict = decide(("y: flips 0.2, expected 0.01 at most",), {1: fast, 8: fast}, _RULES)
    assert verdict == (type(verdict))(False, ("y: flips 0.2, expected 0.01 at most",))


def test_decision_is_refused_when_no_decisive_size_was_measured() -> None:
    with pytest.raises(ValueError, match="none of the decisive"):
        decide((), {128: Ratio(2, 2, 2)}, _RULES)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"batches": ()}, "batches: expected"),
        ({"batches": (0, 1)}, "batches: expected"),
        ({"decisive": (3,)}, "decisive batches: expected some of"),
        ({"rounds": 5}, "rounds: expected more than 5"),
        ({"confidence": 1.0}, "confidence: expected"),
        ({"slice_seconds": 0.0}, "slice_seconds: expected"),
    ],
)
def test_rules_are_refused_when_out_of_range(wrong: dict[str, object], told: str) -> None:
    with pytest.raises(TrainingError, match=told):
        SpeedRules(**wrong)  # type: ignore[arg-type]


def test_bounds_are_refused_when_negative_or_no_number() -> None:
    with pytest.raises(TrainingError, match="flips: expected 0 or more, got -1"):
        Bounds(flips=-1)
    with pytest.raises(TrainingError, match="max_error: expected 0 or more, got nan"):
        Bounds(max_error=float("nan"))

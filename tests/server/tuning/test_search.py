"""The search as a function: against surfaces whose best setting and rate are known."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falaj.server.tuning.confirm import ROUNDS, confirm
from falaj.server.tuning.rate import Seen, Sustained, holds, sustained
from falaj.server.tuning.search import search
from falaj.server.tuning.setting import DEFAULTS, Setting, batches, space
from tests.server.tuning.surfaces import Surface, best_rate

SPACE = [DEFAULTS, *space(4, {"fp16": True, "int8-static": True}, rows=(8, 32, 128))]


def _capacity(best: Setting, gap: float) -> dict[Setting, float]:
    """Of each setting of the space: the best has 10,000, the others fall by `gap` and more."""
    others = [setting for setting in SPACE if setting != best]
    return {best: 10_000.0} | {each: 10_000 / (gap * 1.03**place) for place, each in enumerate(others)}


@settings(max_examples=30)
@given(st.sampled_from(SPACE), st.floats(1.15, 3), st.floats(1.0, 50))
def test_best_setting_is_found_when_the_surface_has_no_noise(
    best: Setting, gap: float, slo_ms: float
) -> None:
    capacity = _capacity(best, gap)
    surface = Surface(capacity.__getitem__)
    found = search(SPACE, surface, slo_ms, 600, surface.spent)
    assert found.left_out == 0
    assert found.tried[0].setting == best
    rate, right = found.tried[0].found.rate, best_rate(10_000, 0.1, slo_ms)
    assert right * 0.9 <= rate <= right * 1.0001


@settings(max_examples=20)
@given(st.sampled_from(SPACE), st.integers(0, 1000))
def test_setting_near_the_best_is_found_when_latencies_are_noisy(best: Setting, seed: int) -> None:
    import numpy as np

    capacity = _capacity(best, 1.5)
    surface = Surface(capacity.__getitem__, noise=0.2, generator=np.random.default_rng(seed))
    found = search(SPACE, surface, 5.0, 600, surface.spent)
    assert found.tried[0].setting == best


@settings(max_examples=40)
@given(
    st.integers(1, 16),
    st.floats(0.5, 300),
    st.floats(0, 3),
    st.lists(st.floats(0, 1e5), min_size=1, max_size=60),
)
def test_time_and_loads_are_bounded_when_a_surface_is_any(
    cores: int, seconds: float, switch_s: float, capacities: list[float]
) -> None:
    every = space(cores, {"fp16": True}, rows=(8, 32))
    capacity = {setting: capacities[place % len(capacities)] for place, setting in enumerate(every)}
    surface = Surface(capacity.__getitem__, switch_s=switch_s)
    found = search(every, surface, 2.0, seconds, surface.spent)
    assert len(found.tried) + found.left_out == len(every)
    # A first look at each that was taken, then rounds that end with the load at which the time is over.
    first = len(found.tried) * (4 * max(0.25, seconds / 4) + switch_s)
    assert surface.clock <= seconds + first + 6 * seconds + switch_s
    assert surface.loads <= 4 * len(found.tried) + 6 * 2 * len(found.tried)


def test_setting_that_held_a_rate_is_first_when_the_machine_stalls_at_the_end() -> None:
    surface = Surface(lambda setting: 10_000.0 if setting == SPACE[3] else 5_000.0)

    def stalling(setting: Setting, rate: float | None, seconds: float) -> Seen:
        seen = surface(setting, rate, seconds)
        return replace(seen, throughput=seen.throughput / 2) if surface.spent() > 450 else seen

    found = search(SPACE, stalling, 5.0, 600, surface.spent)
    assert found.tried[0].found.rate > 0


@given(st.floats(0.2, 20), st.floats(100, 1e6), st.integers(2, 12))
def test_rate_is_inside_the_bound_when_it_is_found(slo_ms: float, capacity: float, loads: int) -> None:
    surface = Surface(lambda setting: capacity)
    found = sustained(lambda rate: surface(DEFAULTS, rate, 1.0), slo_ms, loads)
    right = best_rate(capacity, 0.1, slo_ms)
    assert found.rate <= right * (1 + 1e-9)
    assert found.rate == 0 or found.p99_ms <= slo_ms
    assert surface.loads <= loads
    if found.rate > 0 and math.isfinite(found.too_high):
        assert found.rate <= right <= found.too_high * (1 + 1e-9)
    if loads == 12 and right > capacity / 100:
        assert found.rate >= right * 0.9


def test_rate_is_none_when_nothing_is_inside_the_bound() -> None:
    surface = Surface(lambda setting: 1000.0, lambda setting: 10.0)
    found = sustained(lambda rate: surface(DEFAULTS, rate, 1.0), 5.0, 6)
    assert (found.rate, found.p99_ms > 5) == (0.0, True)


def test_search_goes_on_when_a_setting_does_not_load() -> None:
    broken = SPACE[3]
    surface = Surface(lambda setting: 0.0 if setting == broken else 500.0)
    found = search(SPACE, surface, 10.0, 300, surface.spent)
    of = next(each for each in found.tried if each.setting == broken)
    assert (of.found.rate, of.found.why) == (0.0, "it does not load")
    assert found.tried[0].found.rate > 400


def test_likeliest_settings_are_tried_when_there_is_no_time_for_all() -> None:
    surface = Surface(lambda setting: 500.0, switch_s=0.0)
    found = search(SPACE, surface, 10.0, 10, surface.spent)
    assert found.left_out > 0
    assert {each.setting for each in found.tried} == set(SPACE[: len(found.tried)])
    assert surface.clock < 15


def test_setting_is_better_when_it_is_faster_in_turns() -> None:
    choice = Setting(instances=2, threads=1, max_batch_size=32)
    capacity = {DEFAULTS: 1000.0, choice: 1300.0}
    surface = Surface(capacity.__getitem__, noise=0.05)
    compared = confirm(choice, surface, 5.0, 60, surface.spent, known=(Sustained(900.0), Sustained(1150.0)))
    assert compared.better
    assert 1.1 < compared.low <= compared.gain <= compared.high < 1.45
    assert (len(compared.defaults), len(compared.setting)) == (ROUNDS, ROUNDS)
    assert surface.switches >= 2 * ROUNDS - ROUNDS // 2 - 2  # in turns


@given(st.integers(0, 10_000))
@settings(max_examples=60)
def test_setting_is_seldom_better_when_it_is_as_fast_as_the_defaults(seed: int) -> None:
    import numpy as np

    choice = Setting(instances=2, threads=1, max_batch_size=32)
    surface = Surface(lambda setting: 1000.0, noise=0.3, generator=np.random.default_rng(seed))
    known = (Sustained(900.0), Sustained(900.0))
    compared = confirm(choice, surface, 5.0, 60, surface.spent, known=known)
    assert compared.low <= 1.1  # 2 % more is asked; the noise of one load moves a rate by some


def test_setting_is_better_when_the_defaults_hold_no_rate_at_all() -> None:
    choice = Setting(instances=1, threads=2, max_batch_size=0)
    surface = Surface(lambda setting: 1000.0, lambda setting: 0.1 if setting == choice else 50.0)
    compared = confirm(choice, surface, 5.0, 60, surface.spent, known=(Sustained(), Sustained(800.0)))
    assert compared.better
    assert math.isinf(compared.gain)


@pytest.mark.parametrize(
    ("seen", "held"),
    [
        (Seen(1000, 4.0, 1000), True),
        (Seen(1000, 6.0, 1000), False),
        (Seen(1000, 4.0, 1000, errors=1), False),
        (Seen(700, 4.0, 700), False),
        (Seen(960, 4.0, 960), True),
        (Seen(20, 4.0, 10), False),
        (Seen(1000, 4.0, 1000, unsent=50), False),
    ],
)
def test_rate_holds_when_all_is_answered_in_time_and_nothing_waits(seen: Seen, held: bool) -> None:
    assert holds(1000, seen, 5.0) is held


def test_space_keeps_no_more_cores_busy_than_there_are_when_it_is_made() -> None:
    for cores in (1, 2, 3, 6, 64):
        every = space(cores, {"fp16": True}, rows=(8, 32, 128))
        assert len(every) == len(set(every))
        assert all((each.instances or 0) * (each.threads or 0) <= cores for each in every)
        assert {each.variant for each in every[:2]} == {"original", "fp16"}
        assert Setting("original", cores, 1, 32) in every


def test_rows_of_a_variant_run_alone_when_it_is_not_batched() -> None:
    every = space(2, {"int8-dynamic": False}, rows=(64, 8, 32))
    dynamic = [each for each in every if each.variant == "int8-dynamic"]
    assert {each.max_batch_size for each in dynamic} == {0}
    assert len(dynamic) == len(set(dynamic)) == 3
    assert {each.max_batch_size for each in every if each.variant == "original"} == {64, 8, 32}


def test_space_leaves_out_what_the_defaults_are_when_told() -> None:
    same = Setting("original", 2, 1, 32)
    assert same not in space(2, {}, rows=(32,), like_defaults=same)
    assert same in space(2, {}, rows=(32,))


def test_more_instances_than_cores_are_tried_when_a_model_has_no_threads() -> None:
    every = space(
        2, {}, rows=(32, 8), has_threads=False, like_defaults=Setting(instances=1, max_batch_size=32)
    )
    assert [(each.instances, each.threads, each.max_batch_size) for each in every] == [
        (2, None, 32), (4, None, 32), (8, None, 32), (2, None, 8), (1, None, 8), (4, None, 8), (8, None, 8)
    ]  # fmt: skip
    assert every[0].text() == "2 instances, 32 rows"
    assert every[0].keys() == {"instances": 2, "max_batch_size": 32}
    assert batches(64, batchable=True) == (64, 8, 32, 128)
    assert batches(0, batchable=False) == (0,)


@pytest.mark.parametrize(
    ("setting", "text", "keys"),
    [
        (DEFAULTS, "defaults", {}),
        (
            Setting("fp16", 2, 1, 32),
            "fp16, 2 instances x 1 thread, 32 rows",
            {"max_batch_size": 32, "instances": 2, "threads": 1},
        ),
        (Setting(max_batch_size=0), "never batch", {"max_batch_size": 0}),
    ],
)
def test_setting_says_what_it_sets_when_it_is_told(setting: Setting, text: str, keys: object) -> None:
    assert (setting.text(), setting.keys()) == (text, keys)

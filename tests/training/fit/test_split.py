import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from falaj.training.errors import TrainingError
from falaj.training.fit.spec import SplitSpec
from falaj.training.fit.split import PARTS, split_table
from falaj.training.fit.table import Source, Table


def table(
    target: NDArray[np.int64],
    time: NDArray[np.int64] | None = None,
    group: NDArray[np.object_] | None = None,
) -> Table:
    rows = len(target)
    matrix = np.zeros((rows, 1), np.float32)
    return Table(matrix, ("x",), {}, target, "binary", (0, 1), time, group, {}, Source((), None, {}))


def targets(rows: int) -> NDArray[np.int64]:
    return np.arange(rows, dtype=np.int64) % 2


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000),
    rows=st.integers(60, 200),
    times=st.integers(12, 40),
    share=st.sampled_from([0.1, 0.2, 0.3]),
)
def test_times_do_not_come_apart_and_stay_in_order_when_split_by_time(
    seed: int, rows: int, times: int, share: float
) -> None:
    time = np.random.default_rng(seed).integers(0, times, rows)
    split = split_table(table(targets(rows), time), SplitSpec(validation=share, test=share), seed)
    assert split.kind == "time"
    train, validation, test = (time[split.rows(part)] for part in PARTS)
    assert train.max() < validation.min() <= validation.max() < test.min()
    assert sum(split.sizes.values()) == rows
    # No other border between times is nearer to the share.
    largest = np.unique(time, return_counts=True)[1].max()
    assert abs(len(test) - share * rows) <= largest / 2 + 1


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1000), groups=st.integers(20, 60))
def test_groups_do_not_come_apart_when_split_by_group(seed: int, groups: int) -> None:
    group = np.random.default_rng(seed).integers(0, groups, 300).astype(str).astype(object)
    split = split_table(table(targets(300), group=group), SplitSpec(), seed)
    assert split.kind == "group"
    parts = [set(group[split.rows(part)]) for part in PARTS]
    assert sum(map(len, parts)) == len(set.union(*parts))
    assert split.sizes["left_out"] == 0


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000))
def test_neither_times_nor_groups_come_apart_when_there_are_both(seed: int) -> None:
    random = np.random.default_rng(seed)
    time, group = random.integers(0, 50, 400), random.integers(0, 200, 400).astype(str).astype(object)
    split = split_table(table(targets(400), time, group), SplitSpec(), seed)
    parts = [set(group[split.rows(part)]) for part in PARTS]
    assert sum(map(len, parts)) == len(set.union(*parts))
    train, validation, test = (time[split.rows(part)] for part in PARTS)
    assert train.max() < validation.min() <= validation.max() < test.min()
    assert len(test) == int((time >= test.min()).sum())  # of the last part nothing is left out


def test_classes_have_the_same_shares_when_split_at_random() -> None:
    target = (np.arange(1000) % 10 == 0).astype(np.int64)
    split = split_table(table(target), SplitSpec(validation=0.2, test=0.1), 5)
    assert split.kind == "random"
    assert [int(target[split.rows(part)].sum()) for part in PARTS] == [70, 20, 10]
    assert split.sizes == {"train": 700, "validation": 200, "test": 100, "left_out": 0}


def test_split_is_the_same_when_the_seed_is() -> None:
    one, same, other = (split_table(table(targets(100)), SplitSpec(), seed).parts for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_borders_are_those_given_when_they_are() -> None:
    day = 86_400_000_000
    time = np.arange(100, dtype=np.int64) * day
    spec = SplitSpec(validation_from="1970-02-10T00:00:00Z", test_from="1970-03-01T04:00:00+04:00")
    split = split_table(table(targets(100), time), spec, 0)
    assert split.sizes == {"train": 40, "validation": 19, "test": 41, "left_out": 0}
    assert split.borders["test_from"] == "1970-03-01T00:00:00.000000Z"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (SplitSpec("time"), "by time, and the data have none"),
        (SplitSpec("group"), "by group, and the data have none"),
        (SplitSpec(test_from="2026-01-01T00:00:00Z"), "are of a split by time, this is by random"),
        (SplitSpec(validation=0.01, test=0.1), "no row is left for validation"),
    ],
)
def test_split_is_refused_when_it_cannot_be_made(spec: SplitSpec, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        split_table(table(targets(20)), spec, 0)


def test_split_is_refused_when_a_time_is_naive_or_a_class_comes_later() -> None:
    time = np.arange(100, dtype=np.int64)
    with pytest.raises(TrainingError, match="expected a time with its offset"):
        split_table(table(targets(100), time), SplitSpec(test_from="2026-01-01"), 0)
    late = (time > 80).astype(np.int64)
    with pytest.raises(TrainingError, match="no training row is of the class 1"):
        split_table(table(late, time), SplitSpec(), 0)

"""A replay tells a server no more than was known when it is asked."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import duckdb
import numpy as np
import pytest

from falaj.training.demo.replay import Asked, Latencies, Replayed, Wave, replay, waves

_FIRST, _LAST = "2013-07-01T00:00:00Z", "2013-07-03T00:00:00Z"


@pytest.fixture(scope="module")
def two_days(data: Path) -> list[Wave]:
    return waves(data, _FIRST, _LAST)


def test_waves_come_in_the_order_of_time_and_push_only_what_is_known(two_days: list[Wave]) -> None:
    assert all(one.at_us < other.at_us for one, other in pairwise(two_days))
    for before, wave in pairwise(two_days):
        for rows in wave.pushes.values():
            assert all(before.at_us < row["known_at"] <= wave.at_us for row in rows)
    assert all(flight.at_us == wave.at_us for wave in two_days for flight in wave.asked)


def test_waves_have_every_flight_and_every_departure_once(two_days: list[Wave], data: Path) -> None:
    asked = [flight for wave in two_days for flight in wave.asked]
    assert [flight.number for flight in asked] == list(range(len(asked)))
    with duckdb.connect() as connection:
        last = two_days[-1].at_us
        between = f"known_at > '{_FIRST}' AND epoch_us(known_at) <= {last}"
        sql = f"SELECT flight_id FROM '{data}/departures.parquet' WHERE {between}"
        known = {row[0] for row in connection.execute(sql).fetchall()}
        within = f"asked_at >= '{_FIRST}' AND asked_at < '{_LAST}'"
        sql = f"SELECT count(*) FROM '{data}/asked.parquet' WHERE {within}"
        (count,) = connection.execute(sql).fetchone() or (0,)
    assert len(asked) == count
    for view in ("carrier", "origin", "tail", "route"):
        pushed = [row["flight_id"] for wave in two_days for row in wave.pushes.get(view, [])]
        assert len(pushed) == len(set(pushed))
        assert set(pushed) == known


class _Told:
    """Answers a flight's number, and remembers how many it was asked about at once."""

    name = "told"

    def __init__(self) -> None:
        self.latencies = Latencies()
        self.asked: list[Asked] = []

    def ask(self, flights: Sequence[Asked]) -> list[float]:
        self.asked += flights
        return [float(flight.number) for flight in flights]


@pytest.mark.parametrize("each", [False, True])
def test_every_flight_is_asked_about_after_its_push(two_days: list[Wave], each: bool) -> None:
    transports = [_Told(), _Told()]
    pushed: list[int] = []
    seen: list[Replayed] = []

    def push(wave: Wave) -> int:
        assert sum(len(of.asked) for of in transports) == len(before) * (2 if each else 1)
        before.extend(wave.asked)
        pushed.append(wave.at_us)
        return 3

    before: list[Asked] = []
    done = replay(two_days, push, transports, seen.append, each=each)
    assert pushed == [wave.at_us for wave in two_days]
    assert done.pushed == 3 * len(two_days)
    assert len(seen) == len(two_days)
    flights = [flight for wave in two_days for flight in wave.asked]
    assert done.scores.tolist() == [flight.number for flight in flights]
    assert done.late.tolist() == [flight.late for flight in flights]
    asked_by = np.isfinite(done.by).sum(axis=0)
    assert set(asked_by) == {2 if each else 1}
    shares = [len(of.asked) for of in transports]
    assert shares == np.isfinite(done.by).sum(axis=1).tolist()
    assert min(shares) > 0.4 * len(flights)

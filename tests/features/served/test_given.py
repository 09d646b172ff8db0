"""What a store had been given when somebody looked something up."""

import numpy as np

from falaj.features.served.given import UNKNOWN, Given


def test_bounds_are_of_the_readings_around_when_times_are_asked_for() -> None:
    given = Given()
    given.add(100, 100, 10, 11)
    given.add(100, 100, 20, 21)
    given.add(100, 250, 30, 31)  # a run is under way
    given.add(250, 250, 40, 41)
    first, last = given.at(np.array([5, 10, 11, 20, 25, 31, 35, 40, 41, 50]))
    assert first.tolist() == [UNKNOWN, UNKNOWN, 100, 100, 100, 100, 100, 100, 250, 250]
    assert last.tolist() == [100, 100, 100, 100, 250, 250, 250, 250, UNKNOWN, UNKNOWN]


def test_nothing_is_known_when_nothing_was_read() -> None:
    first, last = Given().at(np.array([1, 2]))
    assert first.tolist() == last.tolist() == [UNKNOWN, UNKNOWN]

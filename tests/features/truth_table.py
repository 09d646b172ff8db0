"""Every rule of the point-in-time join, its ties and its bounds, as cases with their answers written down.

Each engine, offline or online, has to give these answers; so has the oracle, which then stands for the table
where histories are generated.
"""

from dataclasses import dataclass, field

from tests.features.oracle import EXPIRED, MISSING, PRESENT, Answer, Row, Rules


@dataclass(frozen=True)
class Case:
    """A history of key 1 (and others), and what it has for key 1 at some times.

    Attributes:
        answers: (time, answer), in an order that is the spine's.
    """

    name: str
    history: list[Row]
    answers: list[tuple[int, Answer]]
    rules: Rules = field(default_factory=Rules)


def _at(time: int, value: float | None) -> tuple[int, Answer]:
    return time, (PRESENT, value)


def _missing(time: int) -> tuple[int, Answer]:
    return time, (MISSING, None)


def _expired(time: int) -> tuple[int, Answer]:
    return time, (EXPIRED, None)


CASES = [
    # 1: the newest with event_ts <= spine_ts and known_ts + source_delay <= spine_ts.
    Case(
        "a row is true from its event time on",
        [Row(1, 10, 10, 1.0)],
        [_missing(9), _at(10, 1.0), _at(11, 1.0)],
    ),
    Case("a row is used from when it is known on", [Row(1, 10, 20, 1.0)], [_missing(19), _at(20, 1.0)]),
    Case(
        "a row is used a source's delay later",
        [Row(1, 10, 20, 1.0)],
        [_missing(24), _at(25, 1.0)],
        Rules(delay=5),
    ),
    Case(
        "the newer of two rows is taken",
        [Row(1, 10, 10, 1.0), Row(1, 20, 20, 2.0)],
        [_at(19, 1.0), _at(20, 2.0), _at(1000, 2.0)],
    ),
    Case(
        "the order of the source does not matter",
        [Row(1, 20, 20, 2.0), Row(1, 10, 10, 1.0)],
        [_at(19, 1.0), _at(20, 2.0)],
    ),
    Case(
        "a value that is filled in later does not leak into the past",
        [Row(1, 10, 10, 1.0), Row(1, 20, 50, 2.0)],
        [_at(49, 1.0), _at(50, 2.0)],
    ),
    Case(
        "an old value that comes late does not replace a newer one",
        [Row(1, 30, 30, 3.0), Row(1, 10, 40, 1.0)],
        [_missing(29), _at(30, 3.0), _at(40, 3.0)],
    ),
    Case(
        "an old value that comes late serves until a newer one is known",
        [Row(1, 10, 40, 1.0), Row(1, 30, 50, 3.0)],
        [_missing(39), _at(40, 1.0), _at(49, 1.0), _at(50, 3.0)],
    ),
    Case(
        "of late rows, the newest by event counts, not the last to come",
        [Row(1, 10, 60, 1.0), Row(1, 20, 50, 2.0), Row(1, 30, 70, 3.0), Row(1, 15, 80, 1.5)],
        [_missing(49), _at(50, 2.0), _at(60, 2.0), _at(70, 3.0), _at(80, 3.0)],
    ),
    Case(
        "a delay moves when a row is known, not when it is true",
        [Row(1, 10, 10, 1.0), Row(1, 20, 12, 2.0)],
        [_missing(14), _at(15, 1.0), _at(19, 1.0), _at(20, 2.0)],
        Rules(delay=5),
    ),
    # 2: expired where spine_ts - event_ts > ttl.
    Case(
        "a value holds for its ttl, the bound included",
        [Row(1, 10, 10, 1.0)],
        [_at(17, 1.0), _expired(18)],
        Rules(ttl=7),
    ),
    Case(
        "a ttl counts from the event, not from when it was known",
        [Row(1, 10, 15, 1.0)],
        [_at(17, 1.0), _expired(18)],
        Rules(ttl=7),
    ),
    Case(
        "a row that comes when its ttl is over is expired",
        [Row(1, 10, 30, 1.0)],
        [_missing(29), _expired(30)],
        Rules(ttl=7),
    ),
    Case(
        "an expired row hides older ones",
        [Row(1, 10, 10, 1.0), Row(1, 11, 11, 2.0)],
        [_at(18, 2.0), _expired(19)],
        Rules(ttl=7),
    ),
    Case(
        "a ttl of nothing holds for an instant",
        [Row(1, 10, 10, 1.0)],
        [_at(10, 1.0), _expired(11)],
        Rules(ttl=0),
    ),
    # 3: ties by (event_ts, known_ts, sequence), newest last.
    Case(
        "of one event, what is known later is newer",
        [Row(1, 10, 30, 2.0), Row(1, 10, 20, 1.0)],
        [_at(20, 1.0), _at(29, 1.0), _at(30, 2.0)],
    ),
    Case(
        "of the same times, the higher sequence is newer",
        [Row(1, 10, 20, 2.0, sequence=2), Row(1, 10, 20, 3.0, sequence=3), Row(1, 10, 20, 1.0, sequence=1)],
        [_at(20, 3.0)],
    ),
    Case(
        "the sequence counts after the time when it was known",
        [Row(1, 10, 20, 2.0, sequence=1), Row(1, 10, 15, 3.0, sequence=9)],
        [_at(15, 3.0), _at(20, 2.0)],
    ),
    Case(
        "the event counts before all else",
        [Row(1, 11, 20, 2.0, sequence=1), Row(1, 10, 20, 3.0, sequence=9)],
        [_at(20, 2.0)],
    ),
    Case(
        "events of the future, known at once, wait for their time",
        [Row(1, 30, 10, 3.0), Row(1, 20, 10, 2.0)],
        [_missing(19), _at(20, 2.0), _at(30, 3.0)],
    ),
    # 4: null, missing and expired are three answers.
    Case(
        "a null is a value", [Row(1, 10, 10, None)], [_missing(9), _at(10, None), _expired(18)], Rules(ttl=7)
    ),
    Case(
        "a null replaces an older value",
        [Row(1, 10, 10, 1.0), Row(1, 20, 20, None)],
        [_at(19, 1.0), _at(20, None)],
    ),
    Case("nothing is known of another entity", [Row(2, 10, 10, 1.0)], [_missing(10)]),
    Case("a null key is nobody's", [Row(None, 10, 10, 1.0)], [_missing(10)]),
    # 6: a spine keeps its order and its duplicates.
    Case(
        "a spine keeps its order and duplicates",
        [Row(1, 10, 10, 1.0), Row(1, 20, 20, 2.0)],
        [_at(25, 2.0), _at(15, 1.0), _at(25, 2.0), _missing(5), _at(15, 1.0), _missing(5)],
    ),
    # 7: a deletion has its own times.
    Case(
        "a deletion takes the value away",
        [Row(1, 10, 10, 1.0), Row(1, 20, 20, deleted=True)],
        [_at(19, 1.0), _missing(20)],
    ),
    Case(
        "a deletion counts from when it is known",
        [Row(1, 10, 10, 1.0), Row(1, 20, 30, deleted=True)],
        [_at(29, 1.0), _missing(30)],
    ),
    Case(
        "a deletion does not take newer values away",
        [Row(1, 30, 30, 3.0), Row(1, 20, 40, deleted=True)],
        [_at(30, 3.0), _at(40, 3.0)],
    ),
    Case(
        "a value after a deletion counts",
        [Row(1, 20, 20, deleted=True), Row(1, 30, 30, 3.0)],
        [_missing(20), _at(30, 3.0)],
    ),
    Case(
        "a deletion does not expire",
        [Row(1, 10, 10, deleted=True)],
        [_missing(10), _missing(99)],
        Rules(ttl=7),
    ),
    Case(
        "a deletion at the time of a value counts by its sequence",
        [Row(1, 10, 10, 1.0, sequence=2), Row(1, 10, 10, sequence=1, deleted=True)],
        [_at(10, 1.0)],
    ),
    # 8: an event in the future of when it was known.
    Case(
        "an event ahead of its arrival waits for its time",
        [Row(1, 30, 10, 1.0)],
        [_missing(29), _at(30, 1.0)],
    ),
    # As it would have been known then.
    Case(
        "what came after a time is left out when asked for that time",
        [Row(1, 10, 10, 1.0), Row(1, 20, 40, 2.0), Row(1, 30, 41, 3.0)],
        [_at(39, 1.0), _at(40, 2.0), _at(99, 2.0)],
        Rules(known_until=40),
    ),
]

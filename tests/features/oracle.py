"""What a view has for an entity at a time, by the rules and nothing else: no engine, no index, no tricks."""

from dataclasses import dataclass

PRESENT, MISSING, EXPIRED = "present", "missing", "expired"


@dataclass(frozen=True)
class Row:
    """A history row; times in µs."""

    key: int | None
    event: int
    known: int
    value: float | None = None
    sequence: int = 0
    deleted: bool = False


@dataclass(frozen=True)
class Rules:
    """Of a view; spans in µs."""

    delay: int = 0
    ttl: int | None = None
    known_until: int | None = None  # of the question, not of the view


Answer = tuple[str, float | None]  # status and value


def answer(history: list[Row], key: int | None, at: int, rules: Rules) -> Answer:
    """Return what was known of `key` at `at`."""
    usable = [
        row
        for row in history
        if key is not None
        and row.key == key
        and row.event <= at
        and row.known + rules.delay <= at
        and (rules.known_until is None or row.known <= rules.known_until)
    ]
    if not usable:
        return MISSING, None
    newest = max(usable, key=lambda row: (row.event, row.known, row.sequence))
    if newest.deleted:
        return MISSING, None
    if rules.ttl is not None and at - newest.event > rules.ttl:
        return EXPIRED, None
    return PRESENT, newest.value

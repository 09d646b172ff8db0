"""What the windows of some entities have to tell of the events pushed so far, by the rules alone."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from falaj.features import View
from tests.features.windows_oracle import Row, answer, is_std, seen


class Expected:
    """Follows one in so many entities.

    Args:
        view: As views.spending makes it.
    """

    def __init__(self, view: View, one_in: int) -> None:
        self._view, self._one_in = view, one_in
        self._rows: defaultdict[int, list[Row]] = defaultdict(list)

    def add(self, events: Sequence[Mapping[str, Any]]) -> list[int]:
        """Take events that were pushed; return the entities among them that are followed, each once."""
        entities = []
        for event in events:
            entity = event["customer_id"]
            if entity % self._one_in:
                continue
            values = tuple(event[column.name] for column in self._view.inputs)
            times = (event["event_us"], event["known_us"], event["number"])
            self._rows[entity].append(Row(entity, *times, event["order_id"], values))
            entities.append(entity)
        return list(dict.fromkeys(entities))

    def wrong(self, entity: int, at: int, got: Mapping[str, Any]) -> str | None:
        """Return what is wrong about an entity's features as of a time; None: nothing."""
        inputs = [column.name for column in self._view.inputs]
        for each in self._view.aggregates:
            column = None if each.column is None else inputs.index(each.column.name)
            rows, value = seen(self._rows[entity], entity, at, each, 0), got[each.name]
            if each.function == "std":
                assert column is not None
                right = is_std(value, rows, column)
            else:
                right = repr(value) == repr(answer(rows, each, column))
            if not right:
                return f"customer {entity} at {at}: {each.name} is {value!r}, of {rows}"
        return None

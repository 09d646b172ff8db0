"""The protocol's trace extension: what is traced, of all models and of single ones, changed while it runs."""

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from falaj._core import InvalidInput, Unsupported
from falaj.server.strict_toml import did_you_mean

# (on, rate, count, parent based, restart): a rule as the core takes it.
Rule = tuple[bool, int, int, bool, bool]
Told = dict[str, str | list[str]]

_KEYS = ("trace_file", "trace_level", "trace_rate", "trace_count", "log_frequency", "trace_mode")
_LEVELS = {"OFF": False, "TIMESTAMPS": True, "MIN": True, "MAX": True}  # the last two are Triton's old names
_MODE = "opentelemetry"
_NUMBER = re.compile(r"-?[0-9]{1,19}")
_QUOTED_MAX = 60


class TraceRules(Protocol):
    """The part of the core's Tracing that decides."""

    def publish(self, all: Rule, models: dict[str, Rule]) -> None:
        """Take over these rules, as a whole and at once."""

    def left(self) -> dict[str, int]:
        """How many may still be traced by each rule, "" is that of all models; negative: no end."""


@dataclass(frozen=True)
class _Chosen:
    """What was said about all models or about one; None: nothing, what stands behind it holds."""

    on: bool | None = None
    rate: int | None = None
    count: int | None = None

    def over(self, behind: "_Chosen") -> "_Chosen":
        """Lay this over what stands behind it."""
        return _Chosen(
            behind.on if self.on is None else self.on,
            behind.rate if self.rate is None else self.rate,
            behind.count if self.count is None else self.count,
        )


class TraceSettings:
    """Reads and changes the settings under Triton's names. Thread-safe.

    1. A change is taken over as a whole or, where anything of it is wrong, not at all.
    2. It holds for the next request; nothing is restarted but the counts of the rules that it changes.

    Args:
        rules: the core's.
        on, rate: what holds for all models until that is changed, and again when it is cleared.
        parent_based: whether a client's decision is followed.
    """

    def __init__(self, rules: TraceRules, *, on: bool, rate: int, parent_based: bool) -> None:
        self._lock = threading.Lock()
        self._rules = rules
        self._start = _Chosen(on, rate, -1)
        self._parent_based = parent_based
        self._all = _Chosen()
        self._models: dict[str, _Chosen] = {}
        self._publish({None})

    def as_dict(self, model: str | None) -> Told:
        """Return the settings in force, of all models or of one."""
        with self._lock:
            chosen = self._resolved(model)
            left = self._rules.left()
            count = left[model] if model is not None and model in left else left[""]
        return {
            "trace_file": "",
            "trace_level": ["TIMESTAMPS" if chosen.on else "OFF"],
            "trace_rate": str(chosen.rate),
            "trace_count": str(max(count, -1)),
            "log_frequency": "0",
            "trace_mode": _MODE,
        }

    def update(self, model: str | None, values: Mapping[str, Any]) -> None:
        """Change what is named in `values`; None clears it: of a model to what holds for all, of all to what
        held at the start.

        Raises InvalidInput: an unknown name, or a value of the wrong kind or range; Unsupported: what other
        servers do and this one does not. Then nothing was changed.
        """
        with self._lock:
            before = self._resolved(model)
            own = self._all if model is None else self._models.get(model, _Chosen())
            for name, value in values.items():
                own = _changed_by(own, name, value)
            others = {name: self._resolved(name) for name in self._models if name != model}
            if model is None:
                self._all = own
            elif own == _Chosen():
                self._models.pop(model, None)
            else:
                self._models[model] = own
            restarted: set[str | None] = {name for name, was in others.items() if self._resolved(name) != was}
            if self._resolved(model) != before or values.get("trace_count") is not None:
                restarted.add(model)
            self._publish(restarted)

    def _resolved(self, model: str | None) -> _Chosen:
        everyone = self._all.over(self._start)
        return everyone if model is None else self._models.get(model, _Chosen()).over(everyone)

    def _publish(self, restarted: set[str | None]) -> None:
        models = {name: self._rule(name, restarted) for name in self._models}
        self._rules.publish(self._rule(None, restarted), models)

    def _rule(self, model: str | None, restarted: set[str | None]) -> Rule:
        chosen = self._resolved(model)
        assert chosen.on is not None
        assert chosen.rate is not None
        assert chosen.count is not None
        return chosen.on, chosen.rate, chosen.count, self._parent_based, model in restarted


def _changed_by(own: _Chosen, name: str, value: object) -> _Chosen:
    if name not in _KEYS:
        raise InvalidInput(f"trace setting '{name}' is unknown{did_you_mean(name, _KEYS)}")
    if name == "trace_level":
        return replace(own, on=None if value is None else _level(value))
    if name == "trace_rate":
        return replace(own, rate=None if value is None else _number(name, value, 1, 2**32 - 1))
    if name == "trace_count":
        return replace(own, count=None if value is None else _number(name, value, -1, 2**31 - 1))
    if value is not None:
        _refuse_other(name, _text(name, value))
    return own


def _level(value: object) -> bool:
    levels = [value] if isinstance(value, str) else value
    if not isinstance(levels, list | tuple) or not levels:
        raise InvalidInput(f"trace setting 'trace_level': expected OFF or TIMESTAMPS, got {_quoted(value)}")
    for level in levels:
        if level == "TENSORS":
            raise Unsupported("trace setting 'trace_level': TENSORS is not supported, spans hold no tensors")
        if level not in _LEVELS:
            text = f"trace setting 'trace_level': expected OFF or TIMESTAMPS, got {_quoted(level)}"
            raise InvalidInput(text)
    found = {_LEVELS[level] for level in levels}
    if len(found) > 1:
        raise InvalidInput("trace setting 'trace_level': expected OFF or TIMESTAMPS, got both")
    return found.pop()


def _number(name: str, value: object, low: int, high: int) -> int:
    text = _text(name, value)
    if not _NUMBER.fullmatch(text) or not low <= int(text) <= high:
        raise InvalidInput(f"trace setting '{name}': expected {low} to {high}, got {_quoted(text)}")
    return int(text)


def _text(name: str, value: object) -> str:
    """The text of a value, which gRPC has in a list."""
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    if not isinstance(value, str):
        raise InvalidInput(f"trace setting '{name}': expected one text, got {_quoted(value)}")
    return value


def _refuse_other(name: str, text: str) -> None:
    """What can be read, and set to nothing but what it is."""
    reasons = {
        "trace_file": ("", "spans are exported, see tracing.endpoint, and no file is written"),
        "log_frequency": ("0", "spans are exported, and no files are written that would be changed"),
        "trace_mode": (_MODE, f"traces are {_MODE}'s"),
    }
    only, why = reasons[name]
    if text != only:
        raise Unsupported(f"trace setting '{name}': expected '{only}', got {_quoted(text)}: {why}")


def _quoted(value: object) -> str:
    return repr(value)[:_QUOTED_MAX]

"""The settings of the trace extension: what holds of which model, and what a change begins anew."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import falaj
from falaj import _core
from falaj.server.tracing.trace_settings import TraceSettings

pytestmark = pytest.mark.core

_START = {"trace_level": ["OFF"], "trace_rate": "1000", "trace_count": "-1"}
_FIXED = {"trace_file": "", "log_frequency": "0", "trace_mode": "opentelemetry"}


@pytest.fixture(scope="module")
def tracing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_core.Tracing]:
    with falaj.Engine(tmp_path_factory.mktemp("models"), cores=1) as engine:
        yield _core.Tracing(engine.runtime)


@pytest.fixture
def chosen(tracing: _core.Tracing) -> TraceSettings:
    return TraceSettings(tracing, on=False, rate=1000, parent_based=True)


def test_model_has_what_holds_for_all_when_it_has_nothing_of_its_own(chosen: TraceSettings) -> None:
    assert chosen.as_dict(None) == chosen.as_dict("m") == _START | _FIXED
    chosen.update(None, {"trace_rate": "7"})
    assert chosen.as_dict("m")["trace_rate"] == "7"
    chosen.update("m", {"trace_level": ["TIMESTAMPS"], "trace_rate": ["9"]})
    chosen.update(None, {"trace_rate": "8"})
    assert (chosen.as_dict("m")["trace_rate"], chosen.as_dict("n")["trace_rate"]) == ("9", "8")
    chosen.update("m", {"trace_rate": None})
    assert (chosen.as_dict("m")["trace_rate"], chosen.as_dict("m")["trace_level"]) == ("8", ["TIMESTAMPS"])
    chosen.update("m", {"trace_level": None})
    chosen.update(None, {"trace_rate": None})
    assert chosen.as_dict("m") == _START | _FIXED


def test_nothing_changes_when_a_part_is_wrong(chosen: TraceSettings) -> None:
    chosen.update("m", {"trace_rate": "5"})
    before = chosen.as_dict("m")
    for wrong in ({"trace_count": "x"}, {"nope": "1"}, {"trace_level": "TENSORS"}, {"trace_count": 3}):
        with pytest.raises((falaj.InvalidInput, falaj.Unsupported)):
            chosen.update("m", {"trace_rate": "6", **wrong})
        assert chosen.as_dict("m") == before


def test_fixed_settings_are_taken_when_they_are_as_they_are(chosen: TraceSettings) -> None:
    chosen.update(None, {**_FIXED, "trace_level": "MAX"})
    assert chosen.as_dict(None)["trace_level"] == ["TIMESTAMPS"]
    chosen.update(None, dict.fromkeys([*_FIXED, *_START]))
    assert chosen.as_dict(None) == _START | _FIXED


_VALUES: dict[str, Any] = {
    "trace_level": st.sampled_from(["OFF", "TIMESTAMPS", None]),
    "trace_rate": st.sampled_from(["1", "2", "4294967295", None]),
    "trace_count": st.sampled_from(["-1", "0", "5", None]),
}
_CHANGE = st.fixed_dictionaries({}, optional=_VALUES)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from([None, "a", "b"]), _CHANGE), max_size=12))
def test_settings_are_those_of_a_simple_model_when_they_are_changed(
    tracing: _core.Tracing, changes: list[tuple[str | None, dict[str, str | None]]]
) -> None:
    chosen = TraceSettings(tracing, on=False, rate=1000, parent_based=True)
    said: dict[str | None, dict[str, str]] = {None: {}, "a": {}, "b": {}}
    for model, change in changes:
        chosen.update(model, change)
        for name, value in change.items():
            if value is None:
                said[model].pop(name, None)
            else:
                said[model][name] = value
        for name in said:
            start = {"trace_level": "OFF", "trace_rate": "1000", "trace_count": "-1"}
            wanted: dict[str, Any] = start | said[None] | said[name]
            wanted["trace_level"] = [wanted["trace_level"]]
            assert chosen.as_dict(name) == wanted | _FIXED

"""The log's lines, its switches, and that nothing a client sends makes two lines of one."""

import json
import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import falaj
from falaj.server.errors import ConfigError
from falaj.server.ops.log_lines import json_line, text_line, timestamp
from falaj.server.ops.logs import Logs, configure
from falaj.server.ops.settings import Log

# Files, and a machine that others use too: how long an example takes says nothing.
_UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
_LOG = logging.getLogger("falaj.repository")
_TS = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "falaj.log"


@pytest.fixture
def logs(file: Path) -> Iterator[Logs]:
    logs = configure(Log(format="json", file=str(file)))
    yield logs
    logs.close()


def _events(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def _said(file: Path) -> list[str]:
    return [event["msg"] for event in _events(file)]


def _say_everything() -> None:
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        _LOG.log(level, logging.getLevelName(level))


def test_json_line_has_time_level_and_fields_when_a_record_is_logged(logs: Logs, file: Path) -> None:
    _LOG.warning("model '%s' was not loaded", "fraud", extra={"request_id": "r1", "version": 3})
    [event] = _events(file)
    assert re.fullmatch(_TS, event.pop("ts"))
    assert event == {
        "level": "warning",
        "logger": "falaj.repository",
        "msg": "model 'fraud' was not loaded",
        "request_id": "r1",
        "version": 3,
    }


def test_json_line_has_the_traceback_when_an_exception_is_logged(logs: Logs, file: Path) -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        _LOG.exception("it failed")
    [event] = _events(file)
    assert event["level"] == "error"
    assert event["exception"].startswith("Traceback")
    assert event["exception"].endswith("ValueError: two\nlines")


def test_text_line_is_readable_when_a_record_is_logged(file: Path) -> None:
    logs = configure(Log(format="text", file=str(file)))
    try:
        _LOG.info("loaded", extra={"model": "fraud", "note": "two words", "empty": ""})
        logs.settings.update({"log_format": "ISO8601"})
        _LOG.error("failed")
        raise ValueError("two\nlines")
    except ValueError:
        _LOG.exception("it failed")
    finally:
        logs.close()
    first, second, *rest = file.read_text(encoding="utf-8").splitlines()
    end = r'INFO    falaj.repository: loaded model=fraud note="two words" empty=""'
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6} " + end, first)
    assert re.fullmatch(_TS + r" ERROR   falaj.repository: failed", second)
    assert rest[0].endswith("ERROR   falaj.repository: it failed")
    assert rest[1] == "  Traceback (most recent call last):"
    assert all(line.startswith("  ") for line in rest[1:])


def test_timestamp_is_rfc3339_in_utc_when_the_zone_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    assert timestamp(1_700_000_000.000001) == "2023-11-14T22:13:20.000001Z"


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (Log(), ["INFO", "WARNING", "ERROR"]),
        (Log(level="debug"), ["DEBUG", "INFO", "WARNING", "ERROR"]),
        (Log(level="warning"), ["WARNING", "ERROR"]),
        (Log(level="error"), ["ERROR"]),
        (Log(level="error", verbose=1), ["DEBUG", "ERROR"]),
    ],
)
def test_level_decides_what_is_written_when_configured(file: Path, log: Log, said: list[str]) -> None:
    logs = configure(Log(log.level, "json", str(file), verbose=log.verbose))
    try:
        _say_everything()
    finally:
        logs.close()
    assert _said(file) == said


def test_verbosity_shows_deeper_levels_when_raised(logs: Logs, file: Path) -> None:
    for verbose in (0, 1, 2, 3):
        logs.settings.update({"log_verbose_level": verbose})
        for level in (10, 9, 8):
            _LOG.log(level, "%d at %d", level, verbose)
    assert _said(file) == ["10 at 1", "10 at 2", "9 at 2", "10 at 3", "9 at 3", "8 at 3"]
    assert {event["level"] for event in _events(file)} == {"debug"}


def test_settings_tell_the_protocols_six_names_when_read(logs: Logs, file: Path) -> None:
    assert logs.settings.as_dict() == {
        "log_file": str(file),
        "log_info": True,
        "log_warning": True,
        "log_error": True,
        "log_verbose_level": 0,
        "log_format": "default",
    }


def test_update_switches_each_kind_by_itself_when_asked(logs: Logs, file: Path) -> None:
    logs.settings.update({"log_warning": False, "log_verbose_level": 1, "log_file": str(file)})
    _say_everything()
    logs.settings.update({"log_info": False, "log_error": False, "log_verbose_level": 0})
    _say_everything()
    logs.settings.update({})
    logs.settings.update({"log_error": True})
    _say_everything()
    assert _said(file) == ["DEBUG", "INFO", "ERROR", "ERROR"]
    assert logs.settings.as_dict()["log_warning"] is False


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"log_inf": True}, "log setting 'log_inf' is unknown; did you mean 'log_info'?"),
        ({"log_info": 1}, "log setting 'log_info': expected true or false, got 1"),
        ({"log_info": "true"}, "log setting 'log_info': expected true or false, got 'true'"),
        ({"log_verbose_level": True}, "log setting 'log_verbose_level': expected a whole number, got True"),
        ({"log_verbose_level": 1.0}, "log setting 'log_verbose_level': expected a whole number, got 1.0"),
        ({"log_verbose_level": -1}, "log setting 'log_verbose_level': expected 0 to 4294967295, got -1"),
        ({"log_format": "iso"}, "log setting 'log_format': expected default or ISO8601, got 'iso'"),
        ({"log_format": None}, "log setting 'log_format': expected text, got None"),
        ({"log_file": "/etc/x"}, "log setting 'log_file' can only be changed in the server's configuration"),
    ],
)
def test_update_changes_nothing_when_one_value_is_wrong(
    logs: Logs, values: dict[str, Any], message: str
) -> None:
    before = logs.settings.as_dict()
    with pytest.raises(falaj.InvalidInput) as caught:
        logs.settings.update({"log_error": False, "log_format": "ISO8601", **values})
    assert str(caught.value) == message
    assert logs.settings.as_dict() == before


_ANY = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
_NAMES = st.sampled_from(
    ["log_file", "log_info", "log_warning", "log_error", "log_verbose_level", "log_format"]
)


@_UNHURRIED
@given(st.lists(st.dictionaries(_NAMES | st.text(max_size=4), _ANY, max_size=4), max_size=6))
def test_update_is_all_or_nothing_when_values_are_anything(updates: list[dict[str, Any]]) -> None:
    logs = configure(Log(format="json"))
    try:
        for values in updates:
            before = logs.settings.as_dict()
            try:
                logs.settings.update(values)
            except falaj.InvalidInput:
                assert logs.settings.as_dict() == before
            else:
                assert logs.settings.as_dict() == {**before, **values}
    finally:
        logs.close()


def test_access_writes_one_line_without_the_query_when_a_request_is_told(logs: Logs, file: Path) -> None:
    logs.access(("access", "http", b"POST", b"/v2/m/\xff?token=secret", b"r7", "192.0.2.7", 200, 10, 20, 345))
    [event] = _events(file)
    assert re.fullmatch(_TS, event.pop("ts"))
    assert event == {
        "level": "info",
        "logger": "falaj.access",
        "msg": "request",
        "listener": "http",
        "method": "POST",
        "target": "/v2/m/\\xff",
        "status": 200,
        "duration_us": 345,
        "bytes_in": 10,
        "bytes_out": 20,
        "peer": "192.0.2.7",
        "request_id": "r7",
    }


def test_access_writes_its_line_when_info_is_switched_off(logs: Logs, file: Path) -> None:
    logs.settings.update({"log_info": False})
    logs.access(("access", "grpc", b"POST", b"/inference.X/Y", b"r", "unix", 0, 1, 2, 3))
    assert [event["target"] for event in _events(file)] == ["/inference.X/Y"]


def test_access_drops_what_is_over_the_share_when_it_was_lowered(file: Path) -> None:
    logs = configure(Log(format="json", file=str(file), access_log_sample=0.5))
    record = ("access", "http", b"GET", b"/v2", b"r", "unix", 200, 1, 2, 3)
    lines = []
    try:
        for share in (0.5, 0.125, 0.0, 1.0):
            logs.apply(Log(format="json", file=str(file), access_log_sample=share))
            before = len(_events(file))
            for _ in range(1000):
                logs.access(record)
            lines.append(len(_events(file)) - before)
    finally:
        logs.close()
    assert (lines[0], lines[2], lines[3]) == (1000, 0, 1000)
    assert 150 < lines[1] < 350  # 250 expected, 7 standard deviations either way
    assert "log.access_log_sample is 0.5 at most until the next start, not 1.0" in _said(file)


_EVENTS = st.dictionaries(
    st.text(max_size=8),
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.lists(st.text()),
    max_size=4,
)


@_UNHURRIED
@given(st.text(), _EVENTS)
def test_line_is_one_line_when_clients_send_anything(message: str, fields: dict[str, Any]) -> None:
    fields.pop("exception", None)
    event = {**fields, "ts": 1.5, "level": "info", "logger": "falaj", "msg": message}
    line = json_line(event)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    told = json.loads(line)
    assert told["ts"] == "1970-01-01T00:00:01.500000Z"
    assert told.keys() >= {"ts", "level", "logger", "msg"}
    for iso8601 in (False, True):
        text = text_line(event, iso8601=iso8601)
        assert len(text.decode("utf-8").splitlines()) == 1
        assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", text)


def test_half_a_character_is_told_when_a_client_sends_it() -> None:
    event = {"ts": 0.0, "level": "info", "logger": "falaj", "msg": "name \ud800", "n": 1}
    assert json.loads(json_line(event))["msg"] == "name \\ud800"


def test_lines_are_whole_when_threads_write_at_once(logs: Logs, file: Path) -> None:
    def write(thread: int) -> None:
        for number in range(200):
            _LOG.info("%d %d %s", thread, number, "x" * 500)

    threads = [threading.Thread(target=write, args=(thread,)) for thread in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    seen = [tuple(map(int, said.split()[:2])) for said in _said(file)]
    assert sorted(seen) == [(thread, number) for thread in range(4) for number in range(200)]
    for thread in range(4):
        assert [number for t, number in seen if t == thread] == list(range(200))


def test_apply_writes_to_the_new_file_when_it_was_renamed(logs: Logs, file: Path) -> None:
    _LOG.info("before")
    file.rename(file.with_suffix(".1"))
    _LOG.info("still there")
    logs.apply(Log(level="warning", format="json", file=str(file)))
    _say_everything()
    assert _said(file.with_suffix(".1")) == ["before", "still there"]
    assert _said(file) == ["WARNING", "ERROR"]


def test_apply_changes_nothing_when_the_file_cannot_be_opened(logs: Logs, file: Path) -> None:
    with pytest.raises(ConfigError, match=r"log\.file: cannot be opened for appending"):
        logs.apply(Log(level="error", file=str(file.parent / "no" / "folder")))
    _LOG.info("here")
    assert _said(file) == ["here"]


def test_configure_raises_when_the_file_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"log\.file: cannot be opened for appending"):
        configure(Log(file=str(tmp_path)))


def test_other_loggers_are_untouched_when_configured(logs: Logs, file: Path) -> None:
    before = logging.getLogger().handlers[:]
    logging.getLogger("other").error("not ours")
    assert logging.getLogger().handlers == before
    assert _events(file) == []
    logs.close()
    ours = logging.getLogger("falaj")
    assert [h for h in ours.handlers if type(h).__module__.startswith("falaj")] == []
    assert (ours.propagate, ours.level) == (True, logging.NOTSET)


def test_lines_are_dropped_and_counted_when_the_disk_is_full() -> None:
    logs = configure(Log(format="json", file="/dev/full"))
    try:
        _LOG.info("lost")
        assert logs.dropped == 1
    finally:
        logs.close()


def test_standard_error_gets_json_when_it_is_no_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    logs = configure(Log())
    try:
        _LOG.info("hello")
    finally:
        logs.close()
    out, err = capfd.readouterr()
    assert (out, json.loads(err)["msg"]) == ("", "hello")


def test_standard_error_gets_text_when_it_is_a_terminal() -> None:
    code = """
import logging
from falaj.server.ops.logs import configure
from falaj.server.ops.settings import Log
configure(Log())
logging.getLogger("falaj").info("hello")
"""
    ours, theirs = os.openpty()
    try:
        subprocess.run([sys.executable, "-c", code], stderr=theirs, check=True)
        assert b"INFO    falaj: hello" in os.read(ours, 4096)
    finally:
        os.close(ours)
        os.close(theirs)

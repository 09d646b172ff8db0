"""Rows that are kept as they are pushed are those that a training set has, and a store made of them."""

import errno
import math
import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falaj import _core
from falaj.features import Aggregate, Column, DataError, DefinitionError, Entity, PushedRows, pushed_log
from falaj.features.check_report import check_source
from falaj.features.identity import meaning, view_of
from falaj.features.lineage import lineage_of
from falaj.features.offline.export import export_again
from falaj.features.online.lookup import get
from falaj.features.online.materialize import materialize_views
from falaj.features.online.push import Pushed, push
from falaj.features.registry import Registry
from tests.features import windows_cases
from tests.features.online.pushed import exported, pushed_view, read_at
from tests.features.online.store_engine import opened
from tests.features.oracle import Row, Rules, answer

ROOT = Path(__file__).resolve().parents[3]
_KEYS = range(3)
_ROW = st.builds(
    Row,
    key=st.integers(0, 2),
    event=st.integers(0, 5),
    known=st.integers(0, 5),
    value=st.one_of(st.none(), st.floats(allow_nan=False), st.just(-0.0)),
    deleted=st.booleans(),
)


def _said(row: Row, base: int) -> dict[str, Any]:
    told = {"customer_id": row.key, "at": base + row.event, "arrived": base + row.known, "gone": row.deleted}
    return told if row.deleted else {**told, "value": row.value, "city": None}


def _pushes(store: Any, view: Any, rows: list[dict[str, Any]], size: int) -> None:
    for begin in range(0, len(rows), size):
        push(store, view, rows[begin : begin + size])


@settings(max_examples=15, deadline=None)
@given(st.lists(_ROW, min_size=1, max_size=12), st.integers(1, 5), st.sampled_from([None, 2]), st.data())
def test_training_set_and_store_have_what_the_rules_say_of_what_was_pushed(
    rows: list[Row], size: int, ttl: int | None, data: st.DataObject
) -> None:
    rows = rows + data.draw(st.lists(st.sampled_from(rows), max_size=4))
    base, rules = time.time_ns() // 1000, Rules(ttl=ttl)
    # Rows of the same times are ordered by when they are pushed.
    history = [replace(r, event=base + r.event, known=base + r.known, sequence=i) for i, r in enumerate(rows)]
    asked = [(key, base + at) for key in _KEYS for at in range(8)]
    with TemporaryDirectory() as name:
        folder = Path(name)
        view = pushed_view(folder / "log", ttl=None if ttl is None else timedelta(microseconds=ttl))
        store = opened(f"lmdb://{folder}/online")
        _pushes(store, view, [_said(row, base) for row in rows], size)
        got, _ = exported(view, asked, folder / "out.parquet")
        wanted = [answer(history, key, at, rules) for key, at in asked]
        assert repr([(each["status"], each["value"]) for each in got]) == repr(wanted)
        last = time.time_ns() // 1000 + 10
        at_last, _ = exported(view, [(key, last) for key in _KEYS], folder / "out.parquet")
        assert repr(read_at(store, view, _KEYS, last)) == repr(at_last)
        made = opened(f"lmdb://{folder}/made")
        materialize_views([view], made, folder)
        assert repr(read_at(made, view, _KEYS, last)) == repr(at_last)
        (done,) = materialize_views([view], store, folder)
        assert (done.rows, done.entities) == (len(rows), 0)


@settings(max_examples=15, deadline=None)
@given(st.lists(windows_cases.ROW, min_size=1, max_size=12), windows_cases.ASKED, st.integers(1, 4))
def test_windows_have_what_the_rules_say_of_events_that_were_pushed_again(
    rows: list[Any], asked: list[tuple[int, int]], size: int
) -> None:
    hour = 3_600 * windows_cases.SECOND
    base = (time.time_ns() // 1000 // hour - 1) * hour
    # Copies of an event have its time: one that has left its windows is not known any more, and would be new.
    times: dict[tuple[int, object], int] = {}
    rows = [
        replace(
            row,
            event=base + times.setdefault((row.entity, row.id or 0), row.event),
            known=base + row.known,
            id=row.id or 0,
            sequence=i,
        )
        for i, row in enumerate(rows)
    ]
    names = [column.name for column in windows_cases.COLUMNS]
    said = [
        {
            "customer_id": row.entity,
            "ordered_at": row.event,
            "loaded_at": row.known,
            "number": row.sequence,
            "order_id": row.id,
            **dict(zip(names, row.values, strict=True)),
        }
        for row in rows
    ]
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "log").mkdir()
        source = PushedRows(str(folder / "log"))
        view = replace(windows_cases.VIEW, source=source, sequence="number")
        store = opened(f"lmdb://{folder}/online")
        _pushes(store, view, said + said[::-2], size)
        asked = [(entity, base + at) for entity, at in asked]
        got, _ = exported(view, asked, folder / "out.parquet")
        for (entity, at), features in zip(asked, got, strict=True):
            assert not windows_cases.wrong(rows, entity, at, features)
        now = time.time_ns() // 1000
        at_now, _ = exported(view, [(key, now) for key in _KEYS], folder / "out.parquet")
        assert repr(read_at(store, view, _KEYS, now)) == repr(at_now)


def test_values_are_kept_to_the_bit(tmp_path: Path) -> None:
    kinds = ("BOOL", "INT8", "UINT8", "INT64", "UINT64", "FP32", "FP64", "BYTES")
    columns = tuple(Column(f"c{i}", of) for i, of in enumerate(kinds))
    entity = Entity("pair", {"name": "BYTES", "number": "UINT32"})
    view = pushed_view(tmp_path / "log", columns=columns, entity=entity)
    values: list[list[Any]] = [
        [True, -128, 255, -(2**63), 2**64 - 1, 0.1, 0.1, 'a\n"b",\r\x00é'],
        [False, 127, 0, 2**63 - 1, 0, -0.0, -0.0, ""],
        [None, None, None, None, None, math.inf, 5e-324, None],
        [None, None, None, None, None, math.nan, math.nan, None],
    ]
    rows = [
        {"name": "é\n", "number": i, "at": 5, **{f"c{j}": value for j, value in enumerate(row)}}
        for i, row in enumerate(values)
    ]
    store = opened(f"lmdb://{tmp_path}/online")
    push(store, view, rows)
    made = opened(f"lmdb://{tmp_path}/made")
    materialize_views([view], made, tmp_path)
    keys: dict[str, list[Any]] = {"name": ["é\n"] * 4, "number": [0, 1, 2, 3]}
    (pushed,), (again,) = get(store, [view], keys), get(made, [view], keys)
    assert repr(again.values) == repr(pushed.values)
    assert repr(pushed.values["c6"]) == "[0.1, -0.0, 5e-324, nan]"
    assert pushed.values["c7"] == ['a\n"b",\r\x00é', "", None, None]


def test_rows_of_many_segments_are_all_there_and_an_export_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushed_log, "SEGMENT_BYTES", 3_000)
    view, store = pushed_view(tmp_path / "log"), opened(f"lmdb://{tmp_path}/online")
    base = time.time_ns() // 1000
    asked = [(key, base + 10**9) for key in range(120)]
    for key in range(100):
        push(store, view, {"customer_id": key, "at": base, "value": key / 8, "city": str(key)})
        if key in (0, 37, 38):  # within a segment, and wherever that one ends
            exported(view, asked, tmp_path / f"out{key}.parquet")
    files = sorted(os.listdir(tmp_path / "log"))
    assert len(files) > 10
    assert [name for name in files if name.endswith(".log")] == [files[-2]]
    got, manifest = exported(view, asked, tmp_path / "out.parquet")
    assert [each["value"] for each in got] == [key / 8 for key in range(100)] + [None] * 20
    assert manifest.views[0].staged is not None
    assert manifest.views[0].staged.rows == 100
    assert manifest.views[0].files == ()
    for key in (0, 37, 38):
        told = tmp_path / f"out{key}.parquet.manifest.json"
        export_again(told, tmp_path / "again.parquet")
        assert (tmp_path / "again.parquet").read_bytes() == (tmp_path / f"out{key}.parquet").read_bytes()
    made = opened(f"lmdb://{tmp_path}/made")
    (done,) = materialize_views([view], made, tmp_path)
    assert (done.rows, done.entities) == (100, 100)
    push(store, view, {"customer_id": 119, "at": base, "value": 7.0, "city": None})
    (done,) = materialize_views([view], made, tmp_path)
    assert done.entities == 1
    assert done.rows < 30  # of the last segments, not of all
    (done,) = materialize_views([view], made, tmp_path)
    assert done.rows == 0
    assert not list(tmp_path.glob(".falaj-export-*"))


def test_view_without_rows_is_empty(tmp_path: Path) -> None:
    view = pushed_view(tmp_path / "log")
    got, _ = exported(view, [(1, 10**15)], tmp_path / "out.parquet")
    assert got == [{"status": "missing", "value": None, "city": None}]
    (done,) = materialize_views([view], opened(f"lmdb://{tmp_path}/online"), tmp_path)
    assert done.rows == 0
    push(opened(f"lmdb://{tmp_path}/online"), view, {"customer_id": 1, "at": 5, "value": 1.0, "city": None})
    export_again(tmp_path / "out.parquet.manifest.json", tmp_path / "again.parquet")
    assert (tmp_path / "again.parquet").read_bytes() == (tmp_path / "out.parquet").read_bytes()


def test_export_is_not_made_again_of_another_log(tmp_path: Path) -> None:
    view, store = pushed_view(tmp_path / "log"), opened(f"lmdb://{tmp_path}/online")
    rows = [{"customer_id": key, "at": 5, "value": 1.0, "city": None} for key in range(3)]
    push(store, view, rows)
    exported(view, [(1, 10**15)], tmp_path / "out.parquet")
    told = tmp_path / "out.parquet.manifest.json"
    for count, complaint in ((2, "has fewer rows than the 3 that were there"), (4, "its log gives as many")):
        (tmp_path / "log").rename(tmp_path / f"log{count}")
        (tmp_path / "log").mkdir()
        push(store, view, [{**rows[0], "value": 2.0}] * count)
        with pytest.raises(DataError, match=complaint):
            export_again(told, tmp_path / "again.parquet")


def test_bad_rows_and_those_that_the_store_refuses_are_not_kept(
    new_store: Callable[[str], str], tmp_path: Path
) -> None:
    view, store = pushed_view(tmp_path / "log"), opened(new_store("online"))
    good = {"customer_id": 1, "at": 5, "value": 1.0, "city": "Dubai"}
    for bad in ({**good, "value": "x"}, {**good, "at": "soon"}, {**good, "city": "\ud800"}):
        with pytest.raises(DataError):
            push(store, view, [good, bad])
    assert pushed_log.rows_now(view) == 0
    assert push(store, view, [good, {**good, "customer_id": 2}]) == Pushed(2, 2, 0)
    assert pushed_log.rows_now(view) == 2
    other = replace(view, ttl=timedelta(1))
    with pytest.raises(_core.InvalidInput):  # the store has it by another definition
        push(store, other, good)
    assert pushed_log.rows_now(view) == 2


def test_push_that_the_store_refuses_is_taken_out_again(tmp_path: Path) -> None:
    view = pushed_view(tmp_path / "log", entity=Entity("named", {"customer_id": "BYTES"}))
    store = opened(f"lmdb://{tmp_path}/online")
    row = {"customer_id": "a", "at": 5, "value": 1.0, "city": None}
    push(store, view, row)
    with pytest.raises(_core.InvalidInput, match="its key takes more than the 511 bytes"):
        push(store, view, [{**row, "customer_id": "b"}, {**row, "customer_id": "a" * 1000}])
    assert pushed_log.rows_now(view) == 1
    push(store, view, {**row, "customer_id": "b"})
    assert pushed_log.rows_now(view) == 2
    (done,) = materialize_views([view], opened(f"lmdb://{tmp_path}/made"), tmp_path)
    assert done.entities == 2


_ENDED = """
import os, pathlib, sys, time
from falaj.features.online.push import any_rows
from falaj.features.pushed_log import logged
from tests.features.online.pushed import pushed_view
view = pushed_view(pathlib.Path(sys.argv[1]))
row = {"customer_id": 1, "at": 5, "value": 1.0, "city": None}
with logged(view, any_rows(view, [row], time.time_ns())):
    os._exit(9)
"""


def test_row_is_brought_by_materialize_when_a_push_ended_before_its_write(tmp_path: Path) -> None:
    view, store = pushed_view(tmp_path / "log"), opened(f"lmdb://{tmp_path}/online")
    ended = subprocess.run([sys.executable, "-c", _ENDED, str(tmp_path / "log")], cwd=ROOT, check=False)
    assert ended.returncode == 9
    assert materialize_views([view], store, tmp_path)[0].entities == 1
    assert read_at(store, view, [1], time.time_ns() // 1000)[0]["value"] == 1.0


def _end(log: Path) -> int:
    """Where the last frame ends of which the lock's file tells."""
    return int(struct.unpack("<QQQ", (log.parent / "lock").read_bytes())[1])


def _leave(log: Path, what: bytes) -> None:
    """Write behind all frames, as a push that is killed."""
    data = log.read_bytes()
    whole = [end for end, _, _ in pushed_log._frames(data)][-1]
    log.write_bytes(data[:whole] + what + data[whole + len(what) :])


@pytest.mark.parametrize("left", ["a part of the frame", "garbage", "zeros", "a whole frame"])
def test_what_a_killed_push_left_is_cut_off_or_taken(tmp_path: Path, left: str) -> None:
    view, store = pushed_view(tmp_path / "log"), opened(f"lmdb://{tmp_path}/online")
    row = {"customer_id": 1, "at": 5, "value": 1.0, "city": None}
    push(store, view, row)
    (log,) = (tmp_path / "log").glob("*.log")
    before = _end(log)
    push(store, view, {**row, "customer_id": 2})
    frame = log.read_bytes()[before : _end(log)]
    parts = {"a part of the frame": frame[: len(frame) // 2], "garbage": b"x" * 50, "zeros": bytes(50)}
    parts["a whole frame"] = frame
    kept = 3 if left == "a whole frame" else 2
    _leave(log, parts[left])
    assert pushed_log.rows_now(view) == kept
    _leave(log, parts[left])
    push(store, view, {**row, "customer_id": 3})
    assert pushed_log.rows_now(view) == kept + 1 + (left == "a whole frame")
    made = opened(f"lmdb://{tmp_path}/made")
    materialize_views([view], made, tmp_path)
    assert read_at(made, view, [1, 2, 3], 10**16) == read_at(store, view, [1, 2, 3], 10**16)


@pytest.mark.parametrize("is_begun", [False, True])
def test_damage_is_told_and_nothing_is_cut_off(tmp_path: Path, is_begun: bool) -> None:
    view, store = pushed_view(tmp_path / "log"), opened(f"lmdb://{tmp_path}/online")
    row = {"customer_id": 1, "at": 5, "value": 1.0, "city": None}
    push(store, view, [row])
    (log,) = (tmp_path / "log").glob("*.log")
    first = _end(log)
    push(store, view, [row])
    data = bytearray(log.read_bytes())
    data[first + 40] ^= 1
    data[_end(log)] = is_begun  # by a push that was killed
    log.write_bytes(data)
    with pytest.raises(DataError, match=f"000000000001.log: is damaged behind byte {first}"):
        pushed_log.rows_now(view)
    if is_begun:
        with pytest.raises(DataError, match=f"000000000001.log: is damaged behind byte {first}"):
            push(store, view, [row])
    assert log.read_bytes() == data


def test_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    view, store = pushed_view(tmp_path / "log"), opened(f"lmdb://{tmp_path}/online")
    (tmp_path / "log").rmdir()
    with pytest.raises(
        _core.Unavailable, match=r"no folder .*log, where its rows are to be kept; `falaj fea"
    ):
        push(store, view, {"customer_id": 1, "at": 5, "value": 1.0, "city": None})
    with pytest.raises(DataError, match=r"no folder .*log, where its rows are to be kept"):
        materialize_views([view], store, tmp_path)


def test_rows_of_other_columns_are_refused(tmp_path: Path) -> None:
    view, store = pushed_view(tmp_path / "log"), opened(f"lmdb://{tmp_path}/online")
    push(store, view, {"customer_id": 1, "at": 5, "value": 1.0, "city": None})
    other = pushed_view(tmp_path / "log", name="other", columns=(Column("value", "FP32"),))
    complaint = "has rows of customer_id int64, .*value double, city string; expected .*value float$"
    with pytest.raises(DataError, match=complaint):
        push(store, other, {"customer_id": 1, "at": 5, "value": 1.0})
    with pytest.raises(DataError, match=complaint):
        materialize_views([other], store, tmp_path)
    same = pushed_view(tmp_path / "log", name="same")
    (done,) = materialize_views([same], store, tmp_path)
    assert done.rows == 1


def test_folder_without_rows_takes_those_of_any_view(tmp_path: Path) -> None:
    view, store = pushed_view(tmp_path / "log"), opened(f"lmdb://{tmp_path}/online")
    assert materialize_views([view], store, tmp_path)[0].rows == 0
    other = pushed_view(tmp_path / "log", name="other", columns=(Column("value", "FP32"),))
    push(store, other, {"customer_id": 1, "at": 5, "value": 1.0})
    assert materialize_views([other], store, tmp_path)[0].rows == 1
    with pytest.raises(DataError, match="has rows of"):
        materialize_views([view], store, tmp_path)


def test_definition_says_what_pushed_rows_cannot_be(tmp_path: Path) -> None:
    view = pushed_view(tmp_path)
    assert view_of(meaning(view)) == view
    assert meaning(view)["source"] == {"kind": "pushed", "folder": str(tmp_path)}
    for more, complaint in (
        ({"sql": "SELECT * FROM source"}, "sql: its rows are pushed: push what comes of the transformation"),
        ({"unique": True}, "unique: its rows are pushed, and may be pushed again"),
        (
            {
                "columns": (),
                "deleted": None,
                "aggregates": (Aggregate("n", "count", None, timedelta(days=1)),),
            },
            "event_id: expected one, since a row may be pushed again, got none",
        ),
    ):
        with pytest.raises(DefinitionError, match=complaint):
            replace(view, **more)  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match="expected the folder where pushed rows are kept, got none"):
        PushedRows("")


def test_checks_and_lineage_tell_of_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    view = pushed_view(tmp_path / "log")
    registry = Registry(tmp_path / "features.db")
    strict = replace(view, name="strict", columns=(replace(view.columns[0], required=True), view.columns[1]))
    registry.apply([view, strict])
    row = {"customer_id": 1, "at": 5, "value": None, "city": None}
    push(opened(f"lmdb://{tmp_path}/online"), view, [row, {**row, "value": 1.0}])
    for link in (os.link, None):
        if link is None:  # the folder is on another file system than what is made of it
            monkeypatch.setattr(os, "link", _no_link)
        assert check_source(registry.named("profile"), None).rows == 2
        assert check_source(registry.named("strict"), None).reasons == {"null: value": 1}
    lines = lineage_of(registry.named("profile"), registry.versions()).lines()
    assert lines[1:4] == [
        f"  source: pushed {tmp_path}/log",
        f"    {tmp_path}/log/000000000001.log",
        f"    {tmp_path}/log/000000000001.parquet",
    ]


def _no_link(*_: Any) -> None:
    raise OSError(errno.EXDEV, "Invalid cross-device link")

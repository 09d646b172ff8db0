"""Bad rows are kept apart when a view is materialised, each once and with its reason; the good ones go on."""

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from falaj.features import Column, CsvFiles, DataError, Entity, View
from falaj.features.offline.export import export
from falaj.features.offline.spine import Spine
from falaj.features.online.materialize import Materialized, materialize_views
from falaj.features.online.store import open_store, open_view

_MAP_BYTES = 64 << 20
_HEAD = "id,event,known,age\n"
_VIEW = View(
    name="profile",
    version=1,
    entity=Entity("customer", {"id": "INT64"}),
    source=CsvFiles("unused"),
    columns=(Column("age", "INT8", minimum=0),),
    event_time="event",
    known_time="known",
)


def _time(second: int) -> str:
    return f"1970-01-01T00:00:{second:02}Z"


def _line(key: object, known: object, age: object, event: int = 1) -> str:
    return f"{key},{_time(event)},{_time(known) if isinstance(known, int) else known},{age}\n"


def _write(folder: Path, name: str, *lines: str) -> View:
    (folder / name).write_text(_HEAD + "".join(lines), encoding="utf-8")
    return replace(_VIEW, source=CsvFiles(str(folder / "*.csv")))


def _run(view: View, folder: Path, until: int = 59, rebuild: bool = False) -> Materialized:
    store = open_store(f"lmdb://{folder / 'store'}", _MAP_BYTES)
    (done,) = materialize_views([view], store, folder, until_us=until * 10**6, rebuild=rebuild)
    return done


def _kept(folder: Path) -> Sequence[tuple[Any, ...]]:
    files = folder / "quarantine" / "profile@1"
    if not list(files.glob("*.parquet")):
        return []
    select = "SELECT parse_filename(filename), parse_filename(source), number, reason, raw"
    rows = f"{select} FROM read_parquet('{files}/*.parquet', filename = true) ORDER BY ALL"
    with duckdb.connect() as connection:
        return connection.execute(rows).fetchall()


def test_bad_rows_are_kept_with_their_reasons_and_the_good_go_on(tmp_path: Path) -> None:
    bad = [_line(2, 1, -1), _line("two", 1, 1), _line(3, "soon", 1), _line(4, 1, 300)]
    view = _write(tmp_path, "a.csv", _line(1, 1, 7), *bad, _line(5, 1, 8))
    done = _run(view, tmp_path)
    reasons = ["below minimum: age", "out of range of INT8: age", "unreadable time: known", "wrong type: id"]
    assert (done.rows, done.entities, done.bad) == (2, 2, 4)
    assert done.reasons == dict.fromkeys(reasons, 1)
    assert done.quarantined == str(tmp_path / "quarantine" / "profile@1" / "00000001.parquet")
    told = '{"id":"2","event":"1970-01-01T00:00:01Z","known":"1970-01-01T00:00:01Z","age":"-1"}'
    assert _kept(tmp_path)[0] == ("00000001.parquet", "a.csv", 2, "below minimum: age", told)
    assert [row[2] for row in _kept(tmp_path)] == [2, 3, 4, 5]


def test_training_set_has_what_the_store_has_when_rows_are_bad(tmp_path: Path) -> None:
    view = _write(
        tmp_path, "a.csv", _line(1, 1, 7), _line(1, 2, -1, event=2), _line(2, 2, -2), _line(3, 2, 0)
    )
    _run(view, tmp_path)
    online = open_view(open_store(f"lmdb://{tmp_path / 'store'}", _MAP_BYTES), view)
    status, (ages,), _ = online.read([np.array([1, 2, 3])], 10**7)
    spine = Spine("SELECT unnest([1, 2, 3])::BIGINT AS id, 10000000::BIGINT AS spine_ts")
    (tmp_path / "out").mkdir()
    (told,) = export(spine, [view], tmp_path / "out" / "set.parquet").views
    with duckdb.connect() as connection:
        rows = f"SELECT profile__status, profile__age FROM '{tmp_path}/out/set.parquet'"
        assert connection.execute(rows).fetchall() == [("present", 7), ("missing", None), ("present", 0)]
    assert [(int(of), int(age)) for of, age in zip(status, ages, strict=True)] == [(2, 7), (0, 0), (2, 0)]
    assert (told.bad, told.history_rows) == ({"below minimum: age": 2}, 2)


def test_lines_that_are_no_rows_are_kept_and_hide_no_others(tmp_path: Path) -> None:
    lines = [
        _line(1, 1, 7),
        "2,short\n",
        _line(3, 1, "8,9"),
        _line(4, 1, 9),
        f'5,"{_time(1)}"x,{_time(1)},1\n',
    ]
    view = _write(tmp_path, "a.csv", *lines, _line(6, 1, 3))
    with (tmp_path / "a.csv").open("ab") as file:
        file.write(_line(7, 1, "caf").encode()[:-1] + b"\xe9\n" + _line(8, 1, 3).encode())
    done = _run(view, tmp_path)
    assert (done.rows, done.reasons) == (
        4,
        {
            "broken line: invalid encoding": 1,
            "broken line: missing columns": 1,
            "broken line: too many columns": 1,
            "broken line: unquoted value": 1,
        },
    )
    assert ("a.csv", None, "broken line: missing columns", '{"line":"3","text":"2,short"}') in [
        row[1:] for row in _kept(tmp_path)
    ]
    assert _run(view, tmp_path).bad == 0


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_head_line_tells_the_delimiter_and_the_order(tmp_path: Path, delimiter: str) -> None:
    text = f'\ufeff"age";known;event;note;ID;\r\n7;{_time(1)};{_time(1)};"a; ""b""\n";;x\r\n'
    view = _write(tmp_path, "a.csv")
    (tmp_path / "a.csv").write_text(text.replace(";", delimiter), encoding="utf-8", newline="")
    done = _run(replace(view, entity=Entity("customer", {"note": "BYTES"})), tmp_path)
    assert (done.rows, done.bad) == (1, 0)


def test_file_without_a_head_line_is_an_error(tmp_path: Path) -> None:
    view = _write(tmp_path, "a.csv")
    (tmp_path / "b.csv").write_bytes(b"")
    with pytest.raises(DataError, match=r"b\.csv: expected a head line, got none"):
        _run(view, tmp_path)
    (tmp_path / "b.csv").write_bytes(b"id,caf\xe9\n")
    with pytest.raises(DataError, match=r"b\.csv: 'utf-8' codec"):
        _run(view, tmp_path)


def test_row_is_kept_once_however_often_it_is_read(tmp_path: Path) -> None:
    lines = [_line(1, 1, -1), _line(1, 20, -2), _line(2, "soon", 1), _line(3, 1, 1)]
    view = _write(tmp_path, "a.csv", *lines)
    assert _run(view, tmp_path, until=10).bad == 2
    assert _run(view, tmp_path, until=10).bad == 0
    second = _run(view, tmp_path, until=30)
    assert (second.bad, second.reasons) == (1, {"below minimum: age": 1})
    # The file is another, and is read whole: two of its rows are new, of which one is as another was.
    _write(tmp_path, "a.csv", _line(9, 1, -9), *lines, lines[0])
    third = _run(view, tmp_path, until=30)
    assert (third.bad, third.quarantined is None) == (2, False)
    kept = sorted(row[4] for row in _kept(tmp_path))
    assert len(kept) == 5
    assert len(set(kept)) == 4


def test_rows_that_an_ended_run_kept_are_replaced(tmp_path: Path) -> None:
    view = _write(tmp_path, "a.csv", _line(1, 1, -1), _line(2, 1, 1))
    assert _run(view, tmp_path).bad == 1
    place = tmp_path / "quarantine" / "profile@1"
    # As a run leaves them that was ended before its last chunk: the next one is of its number.
    (place / "00000002.parquet").write_bytes((place / "00000001.parquet").read_bytes())
    (place / ".unfinished").write_bytes(b"half")
    _write(tmp_path, "b.csv", _line(3, 1, -3))
    assert _run(view, tmp_path).reasons == {"below minimum: age": 1}
    assert [row[:2] for row in _kept(tmp_path)] == [
        ("00000001.parquet", "a.csv"),
        ("00000002.parquet", "b.csv"),
    ]
    (place / "00000003.parquet").write_bytes((place / "00000001.parquet").read_bytes())
    assert _run(view, tmp_path).bad == 0
    assert len(_kept(tmp_path)) == 2


def test_rebuilding_begins_the_quarantine_again(tmp_path: Path) -> None:
    view = _write(tmp_path, "a.csv", _line(1, 1, -1), _line(2, 30, -2))
    _run(view, tmp_path, until=10)
    _run(view, tmp_path, until=40)
    assert len(_kept(tmp_path)) == 2
    assert _run(view, tmp_path, until=40, rebuild=True).bad == 2
    assert [row[0] for row in _kept(tmp_path)] == ["00000001.parquet"] * 2


def test_duplicates_are_found_across_files_and_runs(tmp_path: Path) -> None:
    view = replace(_write(tmp_path, "a.csv", _line(1, 1, 1), _line(1, 1, 2), _line(2, 1, 5)), unique=True)
    assert _run(view, tmp_path).reasons == {"duplicate": 1}
    _write(tmp_path, "b.csv", _line(2, 1, 6))
    second = _run(view, tmp_path)
    assert (second.rows, second.reasons) == (1, {"duplicate": 1})
    assert [row[1:4] for row in _kept(tmp_path)] == [("a.csv", 1, "duplicate"), ("a.csv", 3, "duplicate")]
    assert _run(view, tmp_path).bad == 0


@pytest.mark.parametrize(
    ("allowed", "stale"), [(None, None), (timedelta(days=1), False), (timedelta(), True)]
)
def test_freshness_is_told_and_no_row_is_bad_for_it(
    tmp_path: Path, allowed: timedelta | None, stale: bool | None
) -> None:
    known = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 60))
    view = replace(_write(tmp_path, "a.csv", _line(1, known, 1)), freshness=allowed)
    for _ in range(2):  # the second run reads no row
        done = _run(view, tmp_path, until=2**40)
        assert (done.stale, done.bad) == (stale, 0)


def test_source_whose_rows_are_all_bad_is_not_fresh(tmp_path: Path) -> None:
    view = replace(_write(tmp_path, "a.csv", _line(1, 1, -1)), freshness=timedelta(days=36500))
    done = _run(view, tmp_path)
    assert (done.rows, done.newest_us, done.stale) == (0, None, True)


def test_transformation_of_all_files_is_checked_too(tmp_path: Path) -> None:
    view = _write(tmp_path, "a.csv", _line(1, 1, 7), _line(2, 1, 9))
    view = replace(view, sql="SELECT id, event, known, (age - 8)::TINYINT AS age FROM source")
    assert _run(view, tmp_path).reasons == {"below minimum: age": 1}
    ((_, source, number, _, raw),) = _kept(tmp_path)
    assert (source, number) == ("*.csv", None)
    assert raw.endswith('"age":"-1"}')

"""Exports of real files: the rows, the manifest, the same bytes again."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from falaj.features import Column, DataError, DefinitionError, Entity, ParquetFiles, View
from falaj.features.offline.export import export, export_again
from falaj.features.offline.manifest import read_manifest
from falaj.features.offline.resources import Resources
from falaj.features.offline.spine import Spine

_CUSTOMER = Entity("customer", {"customer_id": "INT64"})
# (customer_id, event, known, age, city); hours of 2026-01-01, and what arrives late.
_HISTORY = [
    (1, 1, 1, 30, "Dubai"),
    (1, 3, 8, 31, "Sharjah"),
    (1, 5, 5, None, "Ajman"),
    (2, 2, 2, 40, "Al Ain"),
    (2, 9, 7, 41, None),  # its clock goes ahead
]
_SPINE = [("c", 1, 6), ("a", 1, 2), ("b", 2, 8), ("a", 1, 2), ("d", 3, 2), ("e", 1, 30), ("f", 1, 4)]


def _query(sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        return connection.execute(sql).fetchall()


def _hour(hour: int) -> str:
    return f"TIMESTAMPTZ '2026-01-{1 + hour // 24:02d} {hour % 24:02d}:00:00+00'"


def _write(path: Path, columns: str, rows: list[str]) -> None:
    with duckdb.connect() as connection:
        values = ", ".join(f"({row})" for row in rows)
        connection.execute(f"COPY (SELECT * FROM (VALUES {values}) AS t({columns})) TO '{path}'")


def _sql(value: Any) -> str:
    return "NULL" if value is None else repr(value)


@pytest.fixture
def profile(tmp_path: Path) -> View:
    rows = [
        f"{key}, {_hour(event)}, {_hour(known)}, {_sql(age)}::TINYINT, {_sql(city)}::VARCHAR"
        for key, event, known, age, city in _HISTORY
    ]
    _write(tmp_path / "profiles.parquet", "customer_id, moved_at, loaded_at, age, city", rows)
    return View(
        name="profile",
        version=3,
        entity=_CUSTOMER,
        source=ParquetFiles(str(tmp_path / "prof*.parquet")),
        columns=(Column("age", "INT8"), Column("city", "BYTES")),
        event_time="moved_at",
        known_time="loaded_at",
        ttl=timedelta(hours=10),
    )


@pytest.fixture
def spine(tmp_path: Path) -> Spine:
    path = tmp_path / "spine.parquet"
    rows = [f"{label!r}, {key}, {_hour(hour)}" for label, key, hour in _SPINE]
    _write(path, "label, customer_id, asked_at", rows)
    return Spine(str(path), "asked_at")


def test_rows_have_what_was_known_and_the_manifest_tells_how(
    spine: Spine, profile: View, tmp_path: Path
) -> None:
    out = tmp_path / "set.parquet"
    manifest = export(spine, [profile], out)
    assert _query(f"SELECT label, profile__status, profile__age, profile__city FROM '{out}'") == [
        ("c", "present", None, "Ajman"),
        ("a", "present", 30, "Dubai"),
        ("b", "present", 40, "Al Ain"),
        ("a", "present", 30, "Dubai"),
        ("d", "missing", None, None),
        ("e", "expired", None, None),
        ("f", "present", 30, "Dubai"),
    ]
    assert manifest.rows == 7
    columns = ("label", "customer_id", "asked_at", "profile__status", "profile__age", "profile__city")
    assert manifest.columns == columns
    assert [column for column, *_ in _query(f"DESCRIBE SELECT * FROM '{out}'")] == list(columns)
    (told,) = manifest.views
    assert (told.present, told.missing, told.expired) == (5, 1, 1)
    assert told.null == {"age": 1, "city": 0}
    assert told.late == 1  # at 4 h, of what was true from 3 h on and came at 8 h
    assert (told.history_rows, told.ahead) == (5, 1)
    assert [Path(file.path).name for file in told.files] == ["profiles.parquet"]
    assert read_manifest(tmp_path / "set.parquet.manifest.json") == manifest
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "profiles.parquet",
        "set.parquet",
        "set.parquet.manifest.json",
        "spine.parquet",
    ]


def test_what_came_later_is_left_out_when_asked_as_of_a_time(
    spine: Spine, profile: View, tmp_path: Path
) -> None:
    out = tmp_path / "set.parquet"
    manifest = export(spine, [profile], out, as_of_known=datetime(2026, 1, 1, 4, tzinfo=UTC))
    assert _query(f"SELECT profile__age FROM '{out}' WHERE label = 'c'") == [(30,)]
    assert manifest.views[0].late == 0
    again = export_again(tmp_path / "set.parquet.manifest.json", tmp_path / "again.parquet")
    assert again.out.sha256 == manifest.out.sha256


def test_times_are_read_when_the_spine_is_a_csv_file_or_a_select(
    spine: Spine, profile: View, tmp_path: Path
) -> None:
    csv = tmp_path / "spine.csv"
    csv.write_text("customer_id,asked_at\n1,2026-01-01T06:00:00+04:00\n", encoding="utf-8")
    select = Spine(f"SELECT * FROM '{spine.given}' WHERE label = 'a' ORDER BY label", "asked_at")
    for given, rows in ((Spine(str(csv), "asked_at"), 1), (select, 2)):
        out = tmp_path / "set.parquet"
        export(given, [profile], out)
        assert _query(f"SELECT profile__city FROM '{out}'") == [("Dubai",)] * rows


@pytest.mark.parametrize("key", ["1.5", "1e3", "one", "99999999999999999999"])
def test_key_is_refused_when_it_is_no_whole_number_in_a_csv_file(
    key: str, profile: View, tmp_path: Path
) -> None:
    csv = tmp_path / "spine.csv"
    csv.write_text(f"customer_id,asked_at\n1,2026-01-01T06:00:00Z\n{key},2026-01-01T06:00:00Z\n")
    with pytest.raises(DataError, match=key.replace(".", "[.]")):
        export(Spine(str(csv), "asked_at"), [profile], tmp_path / "set.parquet")


def test_bytes_are_the_same_when_made_again_with_other_threads(profile: View, tmp_path: Path) -> None:
    rows = 300_000  # more than two groups of rows
    large = f"SELECT i::BIGINT AS n, i % 5 AS customer_id, i * 1000000 AS asked_at FROM range({rows}) AS t(i)"
    path = tmp_path / "large.parquet"
    _query(f"COPY ({large}) TO '{path}'")
    first = export(
        Spine(str(path), "asked_at"), [profile], tmp_path / "one.parquet", resources=Resources(threads=1)
    )
    manifest = tmp_path / "one.parquet.manifest.json"
    for threads in (2, 3):
        again = export_again(manifest, tmp_path / "two.parquet", resources=Resources(threads=threads))
        assert again.out.sha256 == first.out.sha256
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()
    assert _query(f"SELECT count(*), max(n) FROM '{tmp_path / 'two.parquet'}'") == [(rows, rows - 1)]


def test_progress_is_told_and_never_goes_back(profile: View, tmp_path: Path) -> None:
    rows = "SELECT i % 5 AS customer_id, i * 1000 AS asked_at FROM range(2000000) AS t(i)"
    told: list[float] = []
    made = export(
        Spine(rows, "asked_at"),
        [profile],
        tmp_path / "set.parquet",
        resources=Resources(threads=1),
        tell=told.append,
    )
    assert made.rows == 2_000_000
    assert told
    assert told == sorted(told)
    assert 0.0 <= told[0] <= told[-1] <= 1.0


def test_export_is_made_when_it_does_not_fit_the_memory(profile: View, tmp_path: Path) -> None:
    history = "SELECT hash(i) % 1000 AS customer_id, i AS moved_at, i AS loaded_at, i % 100 AS age"
    history += ", repeat('x', 50) AS city FROM range(1000000) AS t(i)"
    _query(f"COPY ({history}) TO '{tmp_path / 'profiles.parquet'}'")
    spine = Spine("SELECT i % 1000 AS customer_id, i * 10 AS asked_at FROM range(100000) AS t(i)", "asked_at")
    bound = Resources(memory="80MB", threads=2)
    small = export(spine, [profile], tmp_path / "small.parquet", resources=bound)
    large = export(spine, [profile], tmp_path / "large.parquet")
    assert small.out.sha256 == large.out.sha256
    assert small.views[0].present > 90_000


def test_export_is_not_made_again_when_a_source_has_changed(
    spine: Spine, profile: View, tmp_path: Path
) -> None:
    export(spine, [profile], tmp_path / "set.parquet")
    _write(tmp_path / "profiles.parquet", "customer_id", ["1"])
    with pytest.raises(
        DataError, match=r"profiles\.parquet: is not what it was when .*manifest\.json was written"
    ):
        export_again(tmp_path / "set.parquet.manifest.json", tmp_path / "again.parquet")
    assert not (tmp_path / "again.parquet").exists()


def test_export_is_not_taken_for_the_same_when_its_bytes_differ(
    spine: Spine, profile: View, tmp_path: Path
) -> None:
    export(spine, [profile], tmp_path / "set.parquet")
    path = tmp_path / "set.parquet.manifest.json"
    told = json.loads(path.read_text())
    told["as_of_known_us"] = 0
    path.write_text(json.dumps(told))
    with pytest.raises(
        DataError, match=r"again\.parquet: sha256 [0-9a-f]{64}, .* tells [0-9a-f]{64} \(DuckDB"
    ):
        export_again(path, tmp_path / "again.parquet")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 2}', '{"format": 1, "rows": 1}'])
def test_manifest_is_refused_when_it_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"not a manifest of an export|of another version"):
        export_again(path, tmp_path / "out.parquet")


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ("SELECT 1 AS customer_id", "spine: no column 'asked_at', it has customer_id"),
        ("SELECT 1::BIGINT AS asked_at", "spine: no column 'customer_id', it has asked_at"),
        (
            "SELECT 1 AS customer_id, now()::TIMESTAMP AS asked_at",
            "spine, asked_at: expected a timestamp with",
        ),
        ("SELECT 1 AS customer_id, NULL::BIGINT AS asked_at", "spine, asked_at: a row has none"),
        (
            "SELECT 'x' AS customer_id, 1::BIGINT AS asked_at",
            "key 'customer_id': expected INT64, got VARCHAR",
        ),
        ("SELECT 1.5 AS customer_id, 1::BIGINT AS asked_at", "expected INT64, got DECIMAL"),
        ("SELECT 2::HUGEINT ** 70 AS customer_id, 1::BIGINT AS asked_at", "expected INT64, got DOUBLE"),
        (
            "SELECT (1::HUGEINT << 70) AS customer_id, 1::BIGINT AS asked_at",
            "export: .*1180591620717411303424",
        ),
        (
            'SELECT 1 AS customer_id, 1::BIGINT AS asked_at, 1 AS "Profile__STATUS"',
            "spine: has a column 'profile__status'",
        ),
        (
            "SELECT 1 AS customer_id, 1::BIGINT AS asked_at, 1 AS profile__age",
            "spine: has a column 'profile__age', which is a feature's name",
        ),
        ("SELEC", "spine: "),
        ("nowhere.parquet", "spine: .*nowhere"),
    ],
)
def test_nothing_is_written_when_the_spine_cannot_be_used(
    given: str, complaint: str, profile: View, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    out = tmp_path / "out" / "set.parquet"
    out.write_text("what was there")
    with pytest.raises(DataError, match=complaint):
        export(Spine(given, "asked_at"), [profile], out)
    assert out.read_text() == "what was there"
    assert list((tmp_path / "out").iterdir()) == [out]


def test_views_are_refused_when_two_have_one_name(spine: Spine, profile: View, tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="view profile: is there more than once"):
        export(spine, [profile, replace(profile, version=4)], tmp_path / "set.parquet")


def test_views_are_refused_when_they_differ_in_a_key(spine: Spine, profile: View, tmp_path: Path) -> None:
    other = replace(profile, name="other", entity=Entity("customer", {"customer_id": "BYTES"}))
    with pytest.raises(
        DefinitionError, match="view other@3: key 'customer_id': is BYTES, and INT64 in another"
    ):
        export(spine, [profile, other], tmp_path / "set.parquet")


def test_folder_is_named_when_it_is_not_there(spine: Spine, profile: View, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no such folder"):
        export(spine, [profile], tmp_path / "nowhere" / "set.parquet")


def test_time_is_refused_when_it_is_naive(spine: Spine, profile: View, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="as_of_known: expected a time with its time zone"):
        export(spine, [profile], tmp_path / "set.parquet", as_of_known=datetime(2026, 1, 1))

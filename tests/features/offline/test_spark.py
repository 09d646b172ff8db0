"""The export on Spark answers as the truth table, the oracle and the export by DuckDB do."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from functools import reduce
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as fn

from falaj.features import (
    Column,
    CsvFiles,
    DataError,
    DefinitionError,
    Entity,
    ParquetFiles,
    View,
)
from falaj.features.offline import export as by_duckdb
from falaj.features.offline import spark as by_spark
from falaj.features.offline.history import DELETED, EVENT, KNOWN, SEQUENCE
from falaj.features.offline.manifest import read_manifest
from falaj.features.offline.point_in_time import SPINE_ROW, SPINE_TIME, Joined
from falaj.features.offline.spark_history import check_view, key_of, path_of
from falaj.features.offline.spark_join import join
from falaj.features.offline.spine import Spine
from falaj.features.offline.sql import literal
from tests.features.offline.duckdb_engine import view_of
from tests.features.offline.spark_engine import assert_same_export, spark_session
from tests.features.oracle import Answer, Row, Rules, answer
from tests.features.truth_table import CASES, Case

Asked = tuple[list[Row], list[tuple[int | None, int]], Rules]
_KEY = key_of("customer_id")


@pytest.fixture(scope="module")
def session() -> Iterator[SparkSession]:
    with spark_session() as session:
        yield session


def ask(session: SparkSession, asked: Sequence[Asked], folder: Path) -> list[list[Answer]]:
    """Return the join's answers to several histories and spines, in order, by one job."""
    answers: list[list[Answer]] = [[] for _ in asked]
    groups: dict[Rules, int] = {}
    history, spine = [], []
    for i, (rows, times, rules) in enumerate(asked):  # each has keys of its own
        group = groups.setdefault(rules, len(groups))
        for row in rows:
            history.append(
                (group, _own(i, row.key), row.event, row.known, row.sequence, row.deleted, row.value)
            )
        for number, (key, time) in enumerate(times):
            spine.append((group, _own(i, key), time, number, i))
    columns = {_KEY: "BIGINT", EVENT: "BIGINT", KNOWN: "BIGINT", SEQUENCE: "BIGINT"}
    known = _frame(session, folder / "history", {**columns, DELETED: "BOOLEAN", "value": "DOUBLE"}, history)
    columns = {_KEY: "BIGINT", SPINE_TIME: "BIGINT", SPINE_ROW: "BIGINT", "asked": "INT"}
    unknown = _frame(session, folder / "spine", columns, spine)
    frames = []
    for rules, group in groups.items():
        of_group, view = fn.col("rules") == group, Joined(view_of(rules), "unused")
        frames.append(join(unknown.where(of_group), [(view, known.where(of_group))], rules.known_until))
    every = reduce(DataFrame.unionByName, frames)
    for row in sorted(every.collect(), key=lambda row: (row["asked"], row[SPINE_ROW])):
        answers[row["asked"]].append((row["profile__status"], row["profile__value"]))
    return answers


def _frame(
    session: SparkSession, path: Path, columns: dict[str, str], rows: Sequence[Sequence[object]]
) -> DataFrame:
    schema = "rules INT, " + ", ".join(f"{name} {of}" for name, of in columns.items())
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE rows ({schema})")
        if rows:
            places = ", ".join("?" for _ in rows[0])
            connection.executemany(f"INSERT INTO rows VALUES ({places})", rows)
        connection.execute(f"COPY rows TO {literal(f'{path}.parquet')}")
    return session.read.schema(schema).parquet(path_of(f"{path}.parquet"))


def _own(history: int, key: int | None) -> int | None:
    return None if key is None else history * 1000 + key


@pytest.fixture(scope="module")
def table(session: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Answer]]:
    asked = [(case.history, [(1, time) for time, _ in case.answers], case.rules) for case in CASES]
    answers = ask(session, asked, tmp_path_factory.mktemp("table"))
    return dict(zip((case.name for case in CASES), answers, strict=True))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_join_answers_as_the_table(table: dict[str, list[Answer]], case: Case) -> None:
    assert table[case.name] == [expected for _, expected in case.answers]


# As in test_point_in_time.py: most of what is drawn is a tie of something.
_KEYS = st.one_of(st.none(), st.integers(1, 3))
_TIMES = st.integers(0, 12)


@st.composite
def _histories(draw: st.DrawFn) -> list[Row]:
    numbers = draw(st.permutations(range(draw(st.integers(0, 12)))))
    values = st.one_of(st.none(), st.floats(allow_nan=False))
    return [
        Row(draw(_KEYS), draw(_TIMES), draw(_TIMES), draw(values), number, draw(st.booleans()))
        for number in numbers
    ]


_SPINES = st.lists(st.tuples(_KEYS, _TIMES), max_size=12)
_RULES = st.builds(
    Rules,
    delay=st.integers(0, 4),
    ttl=st.one_of(st.none(), st.integers(0, 8)),
    known_until=st.one_of(st.none(), _TIMES),
)


@settings(
    max_examples=3, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(
    groups=st.lists(
        st.tuples(_RULES, st.lists(st.tuples(_histories(), _SPINES), min_size=12, max_size=12)),
        min_size=2,
        max_size=2,
    )
)
def test_join_answers_as_the_oracle(
    session: SparkSession,
    tmp_path_factory: pytest.TempPathFactory,
    groups: list[tuple[Rules, list[tuple[list[Row], list[tuple[int | None, int]]]]]],
) -> None:
    asked = [(history, spine, rules) for rules, each in groups for history, spine in each]
    expected = [[answer(history, key, time, rules) for key, time in spine] for history, spine, rules in asked]
    assert ask(session, asked, tmp_path_factory.mktemp("oracle")) == expected


def _query(sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        return connection.execute(sql).fetchall()


_COLUMNS = (Column("age", "UINT8"), Column("score", "FP32"), Column("city", "BYTES"), Column("big", "UINT64"))


@pytest.fixture
def views(tmp_path: Path) -> dict[str, View]:
    """One of Parquet files of several row groups, whose sequence has nulls, one with SQL, one with ties."""
    folder = tmp_path / "it's [1] 100% {data}"
    folder.mkdir()
    for part in (2, 1):  # the second is written first, and is larger
        _query(
            f"COPY (SELECT (hash(i, {part}) % 40)::INTEGER AS customer_id, "
            f"make_timestamptz(1767225600000000 + (hash(i, 7) % 50 * 3600000000)::BIGINT) AS moved_at, "
            f"1767225600000000 + (hash(i, 8) % 60 * 3600000000)::BIGINT AS loaded_at, "
            f"(i % 256)::UTINYINT AS age, CASE WHEN i % 7 > 0 THEN i / 3 END AS score, "
            f"'city ' || i || ' é' AS city, 18446744073709551615::UBIGINT - i::UBIGINT AS big, "
            f"i % 11 = 0 AS gone, nullif(i % 3, 0)::INTEGER AS turn "
            f"FROM range({1000 * part}) AS t(i)) TO {literal(f'{folder}/{part}.parquet')} "
            f"(ROW_GROUP_SIZE 2048)"
        )
    first = View(
        name="profile",
        version=1,
        entity=Entity("customer", {"customer_id": "INT64"}),
        source=ParquetFiles(f"{str(folder).replace('[', '?').replace(']', '?')}/*.parquet"),
        columns=_COLUMNS,
        event_time="moved_at",
        known_time="loaded_at",
        source_delay=timedelta(minutes=5),
        ttl=timedelta(minutes=30),
        sequence="turn",
        deleted="gone",
    )
    sql = (
        "SELECT customer_id, moved_at, loaded_at, age / 2 AS half, upper(city) AS name, "
        "CASE WHEN age % 2 = 0 THEN length(city) END AS size FROM source WHERE age > 10"
    )
    derived = (Column("half", "FP64"), Column("name", "BYTES"), Column("size", "INT32"))
    second = replace(first, name="derived", columns=derived, ttl=None, sequence=None, deleted=None, sql=sql)
    lines = ["customer_id,at,points,note"]
    lines += [f'{i % 40},2026-01-0{1 + i % 3}T0{i % 10}:00:00+04:00,{i},"a, ""{i}"""' for i in range(300)]
    lines += ["7,2026-01-01T05:00:00Z,,", '8,2026-01-01T05:00:00Z,,""']
    (tmp_path / "points.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    third = View(
        name="points",
        version=1,
        entity=first.entity,
        source=CsvFiles(str(tmp_path / "points.csv")),
        columns=(Column("points", "INT16"), Column("note", "BYTES")),
        event_time="at",
        known_time=None,
    )
    fourth = replace(
        third,
        name="doubled",
        columns=(Column("twice", "INT64"),),
        sql="SELECT *, points * 2 AS twice FROM source",
    )
    return {view.name: view for view in (first, second, third, fourth)}


_SPINE = (
    "SELECT i AS n, DATE '2026-01-01' + i::INTEGER AS day, i * 1.25 AS \"a `price`. of\", "
    "TIMESTAMP '2026-01-01 00:00:00' AS naive, nullif(hash(i, 1) % 45, 44)::BIGINT AS customer_id, "
    "make_timestamptz(1767225600000000 + (hash(i, 3) % 100 * 1800000000)::BIGINT) AS asked_at "
    "FROM range(5000) AS t(i)"
)


@pytest.mark.parametrize(
    ("kind", "until", "names"),
    [
        ("parquet", None, ["derived", "points", "doubled"]),
        ("csv", datetime(2026, 1, 2, 12, tzinfo=UTC), ["profile"]),
    ],
    ids=["parquet", "csv"],
)
def test_export_is_that_of_duckdb_when_made_of_the_same_files(
    session: SparkSession,
    views: dict[str, View],
    tmp_path: Path,
    kind: str,
    until: datetime | None,
    names: list[str],
) -> None:
    given_spine = str(tmp_path / f"spine.{kind}")
    options = "FORMAT parquet" if kind == "parquet" else "FORMAT csv, TIMESTAMPFORMAT '%Y-%m-%dT%H:%M:%SZ'"
    _query(f"COPY ({_SPINE}) TO '{given_spine}' ({options})")
    spine = Spine(given_spine, "asked_at")
    chosen = [views[name] for name in names]
    one = by_duckdb.export(spine, chosen, tmp_path / "one.parquet", as_of_known=until)
    two = by_spark.export(spine, chosen, tmp_path / "two.parquet", as_of_known=until, session=session)
    assert two.rows == 5000
    rows = _query(f"SELECT * FROM '{tmp_path}/two.parquet/part-*.parquet'")
    assert rows == _query(f"SELECT * FROM '{tmp_path}/one.parquet'")
    assert two.columns == one.columns
    assert two.views == one.views
    first = two.views[0]
    assert min(first.present, first.missing, first.late) > 0
    assert (first.expired > 0) == (views[names[0]].ttl is not None)
    assert read_manifest(tmp_path / "two.parquet.manifest.json") == two


@pytest.fixture
def profile(tmp_path: Path) -> View:
    return View(
        name="profile",
        version=1,
        entity=Entity("customer", {"customer_id": "INT64"}),
        source=ParquetFiles(str(tmp_path / "*.parquet")),
        columns=(Column("value", "INT8"),),
        event_time="event",
        known_time="known",
    )


_ASKED = Spine("SELECT 7 AS customer_id, 2000000000000000 AS asked_at", "asked_at")


_TIED = "SELECT 7 AS customer_id, 1::BIGINT AS event, 1::BIGINT AS known, 1 AS value"


def _write(folder: Path, **columns: str) -> None:
    given_columns = {"customer_id": "7", "event": "1::BIGINT", "known": "1::BIGINT", "value": "1", **columns}
    select = ", ".join(f"{sql} AS {name}" for name, sql in given_columns.items())
    _query(f"COPY (SELECT {select}) TO '{folder / 'rows.parquet'}'")


def test_written_times_are_read_when_their_offset_is_known(
    session: SparkSession, profile: View, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    written = "['2026-01-31 12:00:00.000001+04', '2026-01-31T03:30:00.000001-0430']"
    _write(tmp_path, customer_id="unnest([7, 8])", event=f"unnest({written})", known=f"unnest({written})")
    asked = "(7, 1769846400000000), (7, 1769846400000001), (8, 1769846400000000), (8, 1769846400000001)"
    spine = Spine(f"SELECT * FROM (VALUES {asked}) AS t(customer_id, asked_at)", "asked_at")
    by_spark.export(spine, [profile], tmp_path / "out" / "set", session=session)
    found = _query(f"SELECT profile__status FROM '{tmp_path}/out/set/part-*.parquet'")
    assert found == [("missing",), ("present",), ("missing",), ("present",)]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["set", "set.manifest.json"]


@pytest.mark.parametrize(
    ("columns", "complaint"),
    [
        (
            {"event": "TIMESTAMP '2026-01-31 08:00:00'"},
            "view profile@1, event: expected a timestamp with time",
        ),
        (
            {"event": "'2026-01-31T08:00:00'"},
            "event: expected a time with its offset, .* got 2026-01-31T08:00",
        ),
        ({"known": "NULL::BIGINT"}, "view profile@1, known: a row has none"),
        ({"value": "300"}, "view profile@1, value: expected INT8, got 300"),
        ({"value": "1.5::DOUBLE"}, "column 'value': is INT8, the source has DOUBLE"),
        (
            {"customer_id": "18446744073709551615::UBIGINT"},
            "customer_id: expected INT64, got 184467440737095516",
        ),
    ],
)
def test_source_is_refused_when_its_values_do_not_fit(
    session: SparkSession, profile: View, tmp_path: Path, columns: dict[str, str], complaint: str
) -> None:
    _write(tmp_path, **columns)
    (tmp_path / "out").mkdir()
    with pytest.raises((DataError, DefinitionError), match=complaint):
        by_spark.export(_ASKED, [profile], tmp_path / "out" / "set", session=session)
    assert list((tmp_path / "out").iterdir()) == []


def test_source_is_refused_when_one_of_its_files_lacks_a_column(
    session: SparkSession, profile: View, tmp_path: Path
) -> None:
    _write(tmp_path)
    _query(f"COPY (SELECT 7 AS customer_id, 1 AS event, 1 AS known) TO '{tmp_path / 'second.parquet'}'")
    with pytest.raises(DataError, match=r"second\.parquet: no column 'value', which .*rows\.parquet has"):
        by_spark.export(_ASKED, [profile], tmp_path / "set", session=session)


def test_row_of_the_last_file_is_taken_when_rows_have_the_same_times(
    session: SparkSession, profile: View, tmp_path: Path
) -> None:
    _write(tmp_path, value="unnest([5, 4, 3])")
    _query(f"COPY ({_TIED}) TO '{tmp_path / 'some.parquet'}'")
    (tmp_path / "out").mkdir()
    assert_same_export(session, _ASKED, [profile], tmp_path / "out")
    found = _query(f"SELECT profile__value FROM '{tmp_path}/out/two.parquet/part-*.parquet'")
    assert found == [(1,)]


def test_definition_is_refused_when_its_sql_is_of_duckdb_alone(
    session: SparkSession, profile: View, tmp_path: Path
) -> None:
    _write(tmp_path)
    only = replace(profile, sql="SELECT *, strlen('x') AS size FROM source")
    with pytest.raises(
        DefinitionError, match=r"view profile@1: sql: cannot be translated for Spark: .*STRLEN"
    ):
        by_spark.export(_ASKED, [only], tmp_path / "set", session=session)


class _Topic(ParquetFiles):
    """A kind of source of which Spark's export knows nothing."""


@dataclass(frozen=True)
class _Counted(Column):
    over: timedelta | None = None


@dataclass(frozen=True)
class _Windowed(View):
    windows: tuple[timedelta, ...] = ()


def _as_windowed(view: View, windows: tuple[timedelta, ...]) -> View:
    return _Windowed(**{field.name: getattr(view, field.name) for field in fields(view)}, windows=windows)


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        (
            lambda view: replace(view, source=_Topic("rows.parquet")),
            "source: Spark reads ParquetFiles or CsvFiles or SqlQuery or PushedRows, got _Topic",
        ),
        (lambda view: _as_windowed(view, (timedelta(days=7),)), "view profile@1: windows: is not for Spark"),
        (
            lambda view: replace(view, columns=(_Counted("value", "INT8", over=timedelta(days=7)),)),
            "view profile@1, column 'value': over: is not for Spark",
        ),
    ],
    ids=["source", "view", "column"],
)
def test_definition_is_refused_when_it_has_what_spark_would_pass_over(
    session: SparkSession, profile: View, tmp_path: Path, changed: Callable[[View], View], complaint: str
) -> None:
    _write(tmp_path)
    with pytest.raises(DefinitionError, match=complaint):
        by_spark.export(_ASKED, [profile, changed(profile)], tmp_path / "set", session=session)


def test_definition_is_taken_when_what_spark_would_pass_over_is_not_set(profile: View) -> None:
    check_view(_as_windowed(profile, ()))
    check_view(replace(profile, columns=(_Counted("value", "INT8"),)))


def test_folder_is_left_alone_when_no_export_made_it(
    session: SparkSession, profile: View, tmp_path: Path
) -> None:
    (tmp_path / "kept").mkdir()
    with pytest.raises(DataError, match="kept: is a folder that no export made"):
        by_spark.export(_ASKED, [profile], tmp_path / "kept", session=session)


def test_what_spark_needs_is_told_when_it_cannot_be_started(tmp_path: Path) -> None:
    program = "from falaj.features.offline.spark import local_session\nwith local_session(): pass"
    env = {**os.environ, "JAVA_HOME": str(tmp_path)}
    ended = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True)
    assert ended.returncode == 1
    assert "DataError: Spark cannot be started; it needs Java 17 or newer: " in ended.stderr


def test_session_of_the_caller_goes_on_as_it_was_when_none_was_given(
    session: SparkSession, profile: View, tmp_path: Path
) -> None:
    _write(tmp_path)
    settings = session.conf.getAll
    by_spark.export(_ASKED, [profile], tmp_path / "set")
    assert session.conf.getAll == settings
    assert session.range(3).count() == 3
    with pytest.raises(DataError, match="tells what Spark made"):
        by_duckdb.export_again(tmp_path / "set.manifest.json", tmp_path / "again.parquet")

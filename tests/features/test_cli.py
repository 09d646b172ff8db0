"""`falaj features`, run as its users run it."""

import json
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from tests.features.online.redis_server import redis_server
from tests.server.serving_process import ROOT

_DEFINITIONS = """
from datetime import timedelta

from falaj.features import Column, Entity, ParquetFiles, View

customer = Entity("customer", {"customer_id": "INT64"})
profile = View(
    name="profile",
    version=1,
    entity=customer,
    source=ParquetFiles("profiles/*.parquet"),
    columns=(Column("age", "INT8", default=-1),),
    event_time="moved_at",
    known_time="loaded_at",
    ttl=timedelta(days=30),
    owner="risk",
)
"""


class Commands:
    """Runs `falaj features` on data of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "definitions").mkdir()
        self.write(_DEFINITIONS)

    def write(self, text: str) -> None:
        (self._folder / "definitions" / "views.py").write_text(text, encoding="utf-8")

    def run(self, *arguments: str) -> tuple[int, str, str]:
        command = [
            sys.executable,
            "-m",
            "falaj.server",
            "features",
            *arguments,
            "--data-dir",
            str(self._folder),
        ]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout, done.stderr

    def apply(self, *arguments: str) -> tuple[int, str, str]:
        return self.run("apply", str(self._folder / "definitions"), *arguments)


@pytest.fixture
def falaj(tmp_path: Path) -> Commands:
    return Commands(tmp_path)


def test_definitions_are_applied_listed_shown_and_compared(falaj: Commands) -> None:
    assert falaj.apply() == (0, "profile@1: new\n", "")
    falaj.write(
        _DEFINITIONS + _DEFINITIONS.replace("profile = ", "later = ").replace("version=1", "version=2")
    )
    code, told, _ = falaj.apply("--json")
    assert (code, json.loads(told)) == (
        0,
        [
            {"view": "profile", "version": 1, "outcome": "unchanged"},
            {"view": "profile", "version": 2, "outcome": "new"},
        ],
    )
    code, told, _ = falaj.run("list")
    assert code == 0
    assert [line.split()[:4] for line in told.splitlines()[1:]] == [
        ["profile@1", "customer", "age", "risk"],
        ["profile@2", "customer", "age", "risk"],
    ]
    code, told, _ = falaj.run("list", "--json")
    assert [view["version"] for view in json.loads(told)] == [1, 2]
    code, told, _ = falaj.run("show", "profile@1")
    shown = json.loads(told)
    assert (code, shown["ttl_us"], shown["columns"]) == (
        0,
        30 * 86_400_000_000,
        {"age": {"datatype": "INT8", "default": -1}},
    )
    assert falaj.run("diff", "profile@1", "profile") == (0, "version: 1 -> 2\n", "")
    assert falaj.run("diff", "profile", "profile") == (0, "no difference\n", "")


def test_windows_are_applied_listed_shown_and_compared(falaj: Commands) -> None:
    windowed = _DEFINITIONS.replace("import Column", "import Aggregate, Column").replace(
        'columns=(Column("age", "INT8", default=-1),)',
        'aggregates=(Aggregate("spent_1h", "sum", Column("amount", "FP64"), timedelta(hours=1)),)',
    )
    windowed = windowed.replace("    ttl=timedelta(days=30),\n", "")
    later = windowed.replace("hours=1", "hours=12").replace("profile = ", "later = ")
    falaj.write(windowed + later.replace("version=1", "version=2"))
    assert falaj.apply() == (0, "profile@1: new\nprofile@2: new\n", "")
    _, told, _ = falaj.run("list")
    assert told.splitlines()[1].split()[:4] == ["profile@1", "customer", "spent_1h", "risk"]
    _, told, _ = falaj.run("show", "profile@1")
    assert json.loads(told)["aggregates"] == {
        "spent_1h": {
            "function": "sum",
            "column": ["amount", "FP64"],
            "window_us": 3_600_000_000,
            "tile_us": 60_000_000,
        }
    }
    assert falaj.run("diff", "profile@1", "profile@2") == (
        0,
        "version: 1 -> 2\n"
        "aggregates.spent_1h.window_us: 3600000000 -> 43200000000\n"
        "aggregates.spent_1h.tile_us: 60000000 -> 600000000\n",
        "",
    )


def test_training_set_is_exported_and_made_again(falaj: Commands, tmp_path: Path) -> None:
    csv = tmp_path / "profiles.csv"
    csv.write_text(
        "customer_id,moved_at,loaded_at,age\n"
        "1,2026-01-01T00:00:00Z,2026-01-01T00:00:00Z,30\n"
        "1,2026-01-02T00:00:00Z,2026-01-05T00:00:00Z,31\n"
        "2,2026-01-02T00:00:00Z,2026-01-02T00:00:00Z,\n"
    )
    falaj.write(
        _DEFINITIONS.replace('ParquetFiles("profiles/*.parquet")', f'CsvFiles("{csv}")').replace(
            "Parquet", "Csv"
        )
    )
    falaj.apply()
    spine = tmp_path / "spine.csv"
    spine.write_text(
        "customer_id,at\n2,2026-01-03T00:00:00Z\n1,2026-01-03T00:00:00Z\n9,2026-01-03T00:00:00Z\n"
    )
    asked = ("--spine", str(spine), "--time", "at", "--views", "profile@1")
    out = tmp_path / "set.parquet"
    code, told, said = falaj.run("export", *asked, "--out", str(out))
    assert (code, said) == (0, "")
    first, second = told.splitlines()
    assert first.startswith(f"{out}: 3 rows, ")
    assert second == "profile@1: 2 present, 1 missing, 0 expired; 1 late; null: age 1"
    with duckdb.connect() as connection:
        rows = connection.execute(
            f"SELECT customer_id, profile__status, profile__age FROM '{out}'"
        ).fetchall()
    assert rows == [(2, "present", None), (1, "present", 30), (9, "missing", None)]
    again = tmp_path / "again.parquet"
    code, told, _ = falaj.run("export", "--manifest", f"{out}.manifest.json", "--out", str(again), "--json")
    assert (code, json.loads(told)["rows"]) == (0, 3)
    assert again.read_bytes() == out.read_bytes()
    before = ("--as-of-known", "2025-12-31T00:00:00Z")
    _, told, _ = falaj.run("export", *asked, *before, "--out", str(out))
    assert told.splitlines()[1] == "profile@1: 0 present, 3 missing, 0 expired; 0 late"


def test_change_is_refused_and_shown_when_the_version_is_the_same(falaj: Commands) -> None:
    falaj.apply()
    falaj.write(_DEFINITIONS.replace("days=30", "days=7"))
    code, told, said = falaj.apply()
    assert (code, told) == (2, "")
    assert said == (
        "falaj: view profile@1: is registered and differs: ttl_us: 2592000000000 -> 604800000000. "
        "A changed view needs a new version\n"
    )


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("show", "nothing"), "falaj: view nothing: is not registered\n"),
        (("show", "a@b"), "falaj: expected VIEW or VIEW@VERSION, got 'a@b'\n"),
        (("export", "--out", "x"), "falaj: expected --spine and --views, or --manifest\n"),
        (
            ("export", "--out", "x", "--manifest", "m", "--views", "v"),
            "falaj: --manifest: tells the spine, the views, the time and transforms itself\n",
        ),
        (
            ("export", "--out", "x", "--spine", "SELECT 1", "--views", "none@1"),
            "falaj: view none: is not registered\n",
        ),
        (("apply", "/nowhere"), "falaj: /nowhere: no *.py files with definitions\n"),
    ],
)
def test_reason_is_told_when_a_command_cannot_be_done(
    falaj: Commands, arguments: tuple[str, ...], complaint: str
) -> None:
    assert falaj.run(*arguments) == (2, "", complaint)


def test_store_is_brought_up_to_date_when_materialized(falaj: Commands, tmp_path: Path) -> None:
    (tmp_path / "profiles").mkdir()
    source = tmp_path / "profiles" / "a.parquet"
    duckdb.execute(
        "COPY (SELECT i::BIGINT AS customer_id, i::TINYINT AS age, '2026-01-01T00:00:00Z'::TIMESTAMPTZ AS "
        f"moved_at, '2026-01-02T00:00:00Z'::TIMESTAMPTZ AS loaded_at FROM range(5) AS t(i)) TO '{source}'"
    )
    falaj.write(_DEFINITIONS.replace("profiles/", f"{tmp_path}/profiles/"))
    falaj.apply()
    early = ("materialize", "--until", "2026-01-01T12:00:00Z")
    assert falaj.run(*early) == (0, "profile@1: 0 rows, 0 entities changed\n", "")
    assert falaj.run("materialize", "--memory", "1GB", "--threads", "1") == (
        0,
        "profile@1: 5 rows, 5 entities changed\n",
        "",
    )
    code, told, _ = falaj.run("materialize", "--views", "profile@1", "--rebuild", "--json")
    (done,) = json.loads(told)
    assert (code, done["rows"], done["entities"], done["resumed"]) == (0, 5, 5, False)


def test_shared_store_is_brought_up_to_date_or_said_to_be_away(falaj: Commands, tmp_path: Path) -> None:
    csv = tmp_path / "profiles.csv"
    csv.write_text("customer_id,moved_at,loaded_at,age\n1,2026-01-01T00:00:00Z,2026-01-01T00:00:00Z,30\n")
    falaj.write(
        _DEFINITIONS.replace('ParquetFiles("profiles/*.parquet")', f'CsvFiles("{csv}")').replace(
            "Parquet", "Csv"
        )
    )
    falaj.apply()
    with redis_server("--requirepass", "hunter2") as server:
        store = f"redis://:hunter2@127.0.0.1:{server.port}/1"
        command = ("materialize", "--store", store)
        assert falaj.run(*command) == (0, "profile@1: 1 rows, 1 entities changed\n", "")
        assert falaj.run(*command) == (0, "profile@1: 0 rows, 0 entities changed\n", "")
    code, _, told = falaj.run(*command)
    assert code == 1
    assert "cannot be reached: Connection refused" in told
    assert "hunter2" not in told
    assert "Traceback" not in told


def test_materializing_tells_what_it_cannot_do(falaj: Commands) -> None:
    falaj.apply()
    code, _, told = falaj.run("materialize", "--until", "2026-01-01")
    assert (code, "expected a time with its time zone" in told) == (2, True)
    code, _, told = falaj.run("materialize", "--store", "mongodb://x")
    assert (code, "expected lmdb:// and a folder" in told) == (2, True)
    code, _, told = falaj.run("materialize", "--views", "orders")
    assert (code, "view orders: is not registered" in told) == (2, True)
    code, _, told = falaj.run("materialize")
    assert (code, "no file matches 'profiles/*.parquet'" in told) == (2, True)

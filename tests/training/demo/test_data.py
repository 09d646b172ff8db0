"""The demo's files have the flights of 2013, with the times at which things became known."""

from pathlib import Path
from typing import Any

import duckdb
import pytest


def _one(data: Path, sql: str) -> Any:
    with duckdb.connect() as connection:
        connection.execute(f"SET TimeZone = 'UTC'; SET file_search_path = '{data}'")
        found = connection.execute(sql).fetchone()
    assert found is not None
    return found if len(found) > 1 else found[0]


@pytest.mark.parametrize(
    ("file", "rows"), [("departures", 328_521), ("weather", 26_115), ("planes", 3_322), ("asked", 328_365)]
)
def test_file_has_all_rows_when_ingested(data: Path, file: str, rows: int) -> None:
    # Of 336,776 flights 8,255 never left. 156 were asked about before July, and reported after it had begun.
    assert _one(data, f"SELECT count(*) FROM '{file}.parquet'") == rows


def test_nothing_is_known_before_it_happened(data: Path) -> None:
    reports = "SELECT min(known_at - departed_at), max(known_at - departed_at) < INTERVAL 15 MINUTES FROM "
    least, is_soon = _one(data, reports + "'departures.parquet'")
    assert (least.total_seconds(), is_soon) == (0, True)
    assert (
        _one(data, "SELECT count(*) FROM 'weather.parquet' WHERE known_at <> observed_at + INTERVAL 1 HOUR")
        == 0
    )


def test_outcomes_are_known_when_the_model_is_trained(data: Path) -> None:
    july = "TIMESTAMPTZ '2013-07-01T00:00:00Z'"
    before = f"SELECT count(*) FROM 'asked.parquet' WHERE asked_at < {july}"
    assert _one(data, before) == 161_107
    assert _one(data, f"{before} AND departed_at > {july}") == 0


def test_timetable_is_the_clock_on_the_wall_when_summer_time_begins(data: Path) -> None:
    # 7:00 in New York is 12:00 UTC on 9 March, and 11:00 on 10 March 2013; flights are asked about before.
    for asked, minutes in (("2013-03-09T10:00:00Z", 7 * 60), ("2013-03-10T09:00:00Z", 7 * 60)):
        sql = f"SELECT DISTINCT scheduled % 1440 FROM 'asked.parquet' WHERE asked_at = TIMESTAMPTZ '{asked}'"
        assert _one(data, sql) == minutes


def test_late_is_what_happened(data: Path) -> None:
    # The first flight of the year in the package: UA 1545 to Houston, 5:15, left two minutes late.
    found = _one(
        data,
        "SELECT carrier, origin, dest, tailnum, scheduled % 1440, late, departed_at - asked_at "
        "FROM 'asked.parquet' WHERE flight_id = 1",
    )
    assert found[:6] == ("UA", "EWR", "IAH", "N14228", 5 * 60 + 15, 0)
    assert found[6].total_seconds() == 122 * 60
    share = _one(data, "SELECT avg(late) FROM 'asked.parquet' WHERE month = 7")
    assert share == pytest.approx(0.296, abs=0.001)

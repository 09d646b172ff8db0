"""Leaks that are planted into the flights are caught before anything is fitted."""

from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import duckdb
import pytest

from falaj.features import ParquetFiles, View
from falaj.features.definitions import load_definitions
from falaj.features.offline.export import export
from falaj.features.offline.spine import Spine
from falaj.training.errors import TrainingError
from falaj.training.fit.prepared import prepare
from falaj.training.fit.spec import DataSpec, SplitSpec, TrainSpec

_ASKED = "WHERE hash(flight_id) % 40 = 0 AND asked_at < '2013-07-01'"  # some of the flights


@pytest.fixture(scope="module")
def views() -> dict[str, View]:
    folder = Path(str(files("falaj.training.demo") / "files"))
    return {view.name: view for view in load_definitions(folder)}


def _write(sql: str, path: Path) -> None:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"COPY ({sql}) TO '{path}' (FORMAT parquet)")


def _set(folder: Path, data: Path, carrier: View, asked: str = "SELECT *") -> TrainSpec:
    """Make a training set of a view, and return how it is fitted on."""
    _write(f"{asked} FROM '{data}/asked.parquet' AS a {_ASKED}", folder / "asked.parquet")
    export(Spine(f"{folder}/asked.parquet", "asked_at"), [carrier], folder / "flights.parquet")
    spec = DataSpec(
        str(folder / "flights.parquet"),
        "late",
        categories=("carrier", "origin"),
        exclude=("flight_id", "month", "scheduled", "dest", "tailnum"),
    )
    return TrainSpec(spec, SplitSpec(validation=0.2, test=0.2))


def _carrier(views: dict[str, View], source: Path) -> View:
    return replace(views["carrier"], source=ParquetFiles(str(source)))


def test_flights_are_let_through_as_they_are(tmp_path: Path, data: Path, views: dict[str, View]) -> None:
    prepared = prepare(_set(tmp_path, data, _carrier(views, data / "departures.parquet")))
    assert len(prepared.table) > 3000
    assert "carrier__late_3h" in prepared.table.numbers


def test_delay_itself_is_caught_when_it_is_a_column_of_the_spine(
    tmp_path: Path, data: Path, views: dict[str, View]
) -> None:
    of_flight = f"SELECT delay FROM '{data}/departures.parquet' AS d WHERE d.flight_id = a.flight_id"
    late_by = f"SELECT *, ({of_flight}) AS delay"
    spec = _set(tmp_path, data, _carrier(views, data / "departures.parquet"), late_by)
    with pytest.raises(
        TrainingError, match=r"delay: its values tell the target by themselves \(AUC 1\.000\)"
    ):
        prepare(spec)
    prepare(replace(spec, data=replace(spec.data, allow_leaks=("delay",))))


@pytest.mark.parametrize(
    ("known_at", "complaint"),
    [
        # Told by the timetable, hours before many of them left.
        ("departed_at - to_minutes(delay::BIGINT)", r"of its rows are known before their event"),
        # The flight's own report, as if it had been made with the one before.
        ("known_at - INTERVAL 1 DAY", r"100\.0% of its rows are known before their event"),
    ],
)
def test_view_is_caught_when_it_says_that_delays_are_known_too_early(
    tmp_path: Path, data: Path, views: dict[str, View], known_at: str, complaint: str
) -> None:
    early = f"SELECT * REPLACE ({known_at} AS known_at) FROM '{data}/departures.parquet'"
    _write(early, tmp_path / "early.parquet")
    with pytest.raises(TrainingError, match=f"view carrier@1: .*{complaint}"):
        prepare(_set(tmp_path, data, _carrier(views, tmp_path / "early.parquet")))


def test_view_is_caught_when_its_events_are_at_the_time_of_the_timetable(
    tmp_path: Path, data: Path, views: dict[str, View]
) -> None:
    scheduled = "departed_at - to_minutes(delay::BIGINT) AS scheduled_at"
    _write(f"SELECT *, {scheduled} FROM '{data}/departures.parquet'", tmp_path / "scheduled.parquet")
    view = replace(
        _carrier(views, tmp_path / "scheduled.parquet"), event_time="scheduled_at", known_time=None
    )
    with pytest.raises(
        TrainingError, match="'departed_at' is after 'scheduled_at', when they are said to be known"
    ):
        prepare(_set(tmp_path, data, view))

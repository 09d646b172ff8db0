"""What is known of carriers, airports, planes and routes, two hours before a flight."""

from datetime import timedelta

from falaj.features import Aggregate, Column, Entity, ParquetFiles, View

_HOURS = {"3h": 3, "24h": 24, "7d": 7 * 24}
_DELAY, _LATE = Column("delay", "FP64"), Column("late", "FP64")  # minutes; 1 where more than 15
_AGGREGATES = tuple(
    Aggregate(f"{name}_{window}", function, column, timedelta(hours=hours))
    for window, hours in _HOURS.items()
    for name, function, column in (
        ("flights", "count", None),
        ("delay", "mean", _DELAY),
        ("late", "mean", _LATE),
    )
)


def _departures(name: str, entity: Entity) -> View:
    """How late an entity's flights left of late: a delay is known by the first report after that."""
    return View(
        name=name,
        version=1,
        entity=entity,
        source=ParquetFiles("data/departures.parquet"),
        event_time="departed_at",
        known_time="known_at",
        event_id="flight_id",
        aggregates=_AGGREGATES,
        owner="demo",
    )


_ORIGIN, _PLANE = Entity("origin", {"origin": "BYTES"}), Entity("plane", {"tailnum": "BYTES"})
by_carrier = _departures("carrier", Entity("carrier", {"carrier": "BYTES"}))
by_origin = _departures("origin", _ORIGIN)
by_tail = _departures("tail", _PLANE)
by_route = _departures("route", Entity("route", {"origin": "BYTES", "dest": "BYTES"}))

weather = View(
    name="weather",
    version=1,
    entity=_ORIGIN,
    source=ParquetFiles("data/weather.parquet"),
    event_time="observed_at",
    known_time="known_at",  # an hour later
    ttl=timedelta(hours=6),
    columns=tuple(
        Column(name, "FP32")
        for name in (
            "temp",
            "dewp",
            "humid",
            "wind_dir",
            "wind_speed",
            "wind_gust",
            "precip",
            "pressure",
            "visib",
        )
    ),
    owner="demo",
)

plane = View(
    name="plane",
    version=1,
    entity=_PLANE,
    source=ParquetFiles("data/planes.parquet"),
    event_time="registered_at",
    known_time=None,
    columns=(Column("built", "FP32"), Column("seats", "FP32"), Column("engines", "FP32")),
    owner="demo",
)

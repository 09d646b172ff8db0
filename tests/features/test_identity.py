"""A definition's hash changes with what decides its values, and with nothing else."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from falaj.features import Aggregate, Column, CsvFiles, DefinitionError, Entity, ParquetFiles, Tags, View
from falaj.features.identity import content_hash, difference, meaning, stewardship, view_of

PROFILE = View(
    name="profile",
    version=1,
    entity=Entity("customer", {"customer_id": "INT64", "branch": "BYTES"}),
    source=ParquetFiles("profiles/*.parquet"),
    columns=(Column("age", "INT8", default=-1), Column("score", "FP32", default=float("nan"))),
    event_time="moved_at",
    known_time="loaded_at",
    ttl=timedelta(days=30),
    owner="risk",
    tags=Tags(purpose="credit", sensitivity="personal", jurisdiction="AE"),
)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"version": 2}, "version: 1 -> 2"),
        ({"ttl": None}, "ttl_us: 2592000000000 -> null"),
        ({"source_delay": timedelta(microseconds=1)}, "source_delay_us: 0 -> 1"),
        ({"source": CsvFiles("profiles/*.parquet")}, 'source.kind: "parquet" -> "csv"'),
        ({"known_time": None}, 'known_time: "loaded_at" -> null'),
        ({"sql": "SELECT * FROM source"}, 'sql: null -> "SELECT * FROM source"'),
        (
            {"columns": (Column("age", "INT16", default=-1), PROFILE.columns[1])},
            'columns.age.datatype: "INT8" -> "INT16"',
        ),
        (
            {"columns": (PROFILE.columns[0],)},
            'columns.score: {"datatype": "FP32", "default": "nan"} -> absent',
        ),
        ({"columns": PROFILE.columns[::-1]}, "columns: order age, score -> score, age"),
        (
            {"entity": Entity("customer", {"branch": "BYTES", "customer_id": "INT64"})},
            'entity.keys: [["customer_id", "INT64"], ["branch", "BYTES"]] -> '
            '[["branch", "BYTES"], ["customer_id", "INT64"]]',
        ),
    ],
)
def test_hash_changes_and_the_difference_is_told_when_a_meaning_changes(
    change: dict[str, Any], line: str
) -> None:
    before, after = meaning(PROFILE), meaning(replace(PROFILE, **change))
    assert difference(before, after) == [line]
    assert content_hash(before) != content_hash(after)


def test_hash_stays_when_only_the_owner_and_tags_change() -> None:
    other = replace(PROFILE, owner="fraud", tags=Tags(purpose="fraud"))
    assert content_hash(meaning(other)) == content_hash(meaning(PROFILE))
    assert difference(stewardship(PROFILE), stewardship(other)) == [
        'owner: "risk" -> "fraud"',
        'purpose: "credit" -> "fraud"',
        'sensitivity: "personal" -> ""',
        'jurisdiction: "AE" -> ""',
    ]


# It is written into manifests and registries: were it another tomorrow, every view would seem changed.
def test_hash_is_the_one_it_always_was_when_nothing_changes() -> None:
    assert content_hash(meaning(PROFILE)) == (
        "2acb55deba5056ec83c16ccb060e2473898c6b9a929d0772e1b91ec8ef2bff4e"
    )


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"ttl": None, "known_time": None, "source_delay": timedelta(days=1, microseconds=1)},
        {"source": CsvFiles("a.csv"), "sql": "SELECT 1", "sequence": "n", "deleted": "gone"},
        {"columns": (Column("a", "FP64", 0.1), Column("b", "FP32", 2), Column("c", "BYTES", "é"))},
        {"columns": (Column("a", "FP32", float("-inf")), Column("b", "BOOL", False), Column("c", "INT8"))},
    ],
)
def test_view_is_the_same_again_when_made_of_its_meaning(change: dict[str, Any]) -> None:
    told = meaning(replace(PROFILE, **change))
    again = view_of(json.loads(json.dumps(told)))
    assert meaning(again) == told
    assert content_hash(meaning(again)) == content_hash(told)


WINDOWED = replace(
    PROFILE,
    columns=(),
    ttl=None,
    event_id="order_id",
    aggregates=(
        Aggregate("orders_1h", "count", None, timedelta(hours=1)),
        Aggregate("spent_90d", "sum", Column("amount", "FP64"), timedelta(days=90)),
    ),
)


def test_windowed_view_is_the_same_again_when_made_of_its_meaning() -> None:
    told = meaning(WINDOWED)
    again = view_of(json.loads(json.dumps(told)))
    assert again.aggregates == WINDOWED.aggregates
    assert content_hash(meaning(again)) == content_hash(told)


def test_demands_on_what_is_aggregated_are_part_of_the_meaning() -> None:
    demanding = Column("amount", "FP64", required=True, minimum=0.1, one_of=(0.1, 2.0), finite=True)
    other = replace(
        WINDOWED,
        aggregates=(Aggregate("spent_90d", "sum", demanding, timedelta(days=90)),),
        owner="",
        tags=Tags(),
    )
    assert view_of(json.loads(json.dumps(meaning(other)))) == other
    assert meaning(WINDOWED)["aggregates"]["spent_90d"]["column"] == ["amount", "FP64"]


def test_difference_is_told_when_an_aggregate_or_the_event_id_changes() -> None:
    other = Aggregate("orders_1h", "count", None, timedelta(hours=12))
    after = meaning(replace(WINDOWED, aggregates=(other, WINDOWED.aggregates[1]), event_id=None))
    assert difference(meaning(WINDOWED), after) == [
        'event_id: "order_id" -> null',
        "aggregates.orders_1h.window_us: 3600000000 -> 43200000000",
        "aggregates.orders_1h.tile_us: 60000000 -> 600000000",
    ]


def test_windowed_view_is_refused_when_its_tiles_were_others() -> None:
    told = meaning(WINDOWED)
    told["aggregates"]["orders_1h"]["tile_us"] = 1
    with pytest.raises(DefinitionError, match="'orders_1h': expected tiles of 60000000 us, got 1"):
        view_of(told)

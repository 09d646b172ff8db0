"""`falaj features get`, run as its users run it."""

import json
from pathlib import Path

import duckdb
import pytest

from tests.features.online.redis_server import redis_server
from tests.features.test_cli import Commands

_DEFINITIONS = """
from datetime import timedelta

from falaj.features import Column, CsvFiles, Entity, View

def likes(version):
    return View(
        name="likes",
        version=version,
        entity=Entity("pair", {"user": "BYTES", "item": "INT64"}),
        source=CsvFiles("FOLDER/likes.csv"),
        columns=(Column("score", "FP32"), Column("note", "BYTES")),
        event_time="at",
        known_time=None,
        ttl=None if version == 1 else timedelta(days=1),
    )

first, second = likes(1), likes(2)
"""
_ROWS = "user,item,at,score,note\na,3,2026-01-01T00:00:00Z,0.1,good\nb,4,2026-01-01T00:00:00Z,,-\n"


@pytest.fixture
def falaj(tmp_path: Path) -> Commands:
    commands = Commands(tmp_path)
    commands.write(_DEFINITIONS.replace("FOLDER", str(tmp_path)))
    (tmp_path / "likes.csv").write_text(_ROWS)
    assert commands.apply()[0] == 0
    assert commands.run("materialize", "--views", "likes@1,likes@2")[0] == 0
    return commands


def test_table_tells_status_values_and_nulls_of_each_entity(falaj: Commands) -> None:
    keys = ("--key", "user=a,item=3", "--key", "item=4,user=b", "--key", "user=a,item=4")
    assert falaj.run("get", "likes@1", *keys) == (
        0,
        "user  item  likes@1  likes@1.score  likes@1.note\n"
        "a     3     present  0.1            good\n"
        "b     4     present  null           -\n"
        "a     4     missing  -              -\n",
        "",
    )
    code, told, _ = falaj.run("get", "likes", "likes@1", *keys[:2], "--json")
    assert (code, json.loads(told)) == (
        0,
        {
            "keys": {"user": ["a"], "item": [3]},
            "views": {
                "likes@2": {"status": ["expired"], "values": {"score": [None], "note": [None]}},
                "likes@1": {"status": ["present"], "values": {"score": [0.1], "note": ["good"]}},
            },
        },
    )


def test_keys_are_read_from_a_file(falaj: Commands, tmp_path: Path) -> None:
    csv, parquet = tmp_path / "keys.csv", tmp_path / "keys.parquet"
    csv.write_text("item,user,more\n4,b,x\n3,a,y\n")
    duckdb.execute(f"COPY (FROM (VALUES (4, 'b'), (3, 'a')) AS t(item, \"user\")) TO '{parquet}'")
    for file in (csv, parquet):
        code, told, said = falaj.run("get", "likes@1", "--keys", str(file), "--json")
        assert (code, said) == (0, "")
        assert json.loads(told)["views"]["likes@1"]["values"]["score"] == [None, 0.1]


def test_shared_store_is_asked_by_its_url(falaj: Commands) -> None:
    asked = ("get", "likes@1", "--key", "user=a,item=3", "--json")
    with redis_server() as server:
        assert falaj.run("materialize", "--views", "likes@1", "--store", server.url)[0] == 0
        code, told, _ = falaj.run(*asked, "--store", server.url)
        assert (code, json.loads(told)["views"]["likes@1"]["values"]["note"]) == (0, ["good"])
    code, _, said = falaj.run(*asked, "--store", server.url)
    assert (code, "cannot be reached" in said) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("likes",), "expected --key, once for each entity, or --keys and a file"),
        (("likes", "--key", "user=a"), "--key: expected user=…,item=…, got 'user=a'"),
        (("likes", "--key", "user,item=3"), "--key: expected user=…,item=…, got 'user,item=3'"),
        (("likes", "--key", "user=a,item=3.5"), "--key: 'item': expected INT64, got '3.5'"),
        (
            ("likes", "--keys", "k.txt"),
            "--keys: expected a file named .csv, .csv.gz or .parquet, got 'k.txt'",
        ),
        (("likes@3", "--key", "user=a,item=3"), "view likes@3: is not registered; there are 1, 2"),
    ],
)
def test_reason_is_told_when_entities_cannot_be_looked_up(
    falaj: Commands, arguments: tuple[str, ...], complaint: str
) -> None:
    assert falaj.run("get", *arguments) == (2, "", f"falaj: {complaint}\n")


def test_file_of_keys_is_refused_when_it_does_not_fit(falaj: Commands, tmp_path: Path) -> None:
    file = tmp_path / "keys.csv"
    for text, complaint in (
        ("user\na\n", 'names: "item" do not exist'),
        ("user,item\na,x\n", "expected INT64, got x"),
        ("user,item\na,1\n,2\n", "'user': row 1 has none"),
    ):
        file.write_text(text)
        code, _, said = falaj.run("get", "likes", "--keys", str(file))
        assert (code, complaint in said) == (2, True), said
    duckdb.execute(f"COPY (SELECT 'a' AS user, i AS item FROM range(100_001) AS t(i)) TO '{file}'")
    code, _, said = falaj.run("get", "likes", "--keys", str(file))
    assert (code, "expected at most 100000 rows, got more; see falaj features export" in said) == (2, True)

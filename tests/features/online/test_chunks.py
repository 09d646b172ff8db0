"""Chunks are of whole entities, in the order of the store's keys, and the same each time."""

from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from falaj.features import Column, DataError, Entity, ParquetFiles, View
from falaj.features.offline.history import EVENT, KNOWN
from falaj.features.online.chunks import column_of, create_answering, pieces, read_chunks

_TEXTS = ["b", "a", "aa", "", "é", "ab", "z", "ba"]


def _view(**keys: str) -> View:
    return View(
        name="profile",
        version=1,
        entity=Entity("customer", keys),
        source=ParquetFiles("none"),
        columns=(Column("v", "FP32"),),
        event_time="event",
        known_time=None,
    )


def _chunks(view: View, sql: str, rows: int, of: int, first: int = 0) -> list[pa.Table]:
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TEMP VIEW given AS {sql}")
        with closing(
            read_chunks(connection, view, "given", rows, range(first, of), of, ordered=of > 1)
        ) as chunks:
            found = list(chunks)
        # The connection can be used again, and is as it was.
        setting = connection.execute("SELECT current_setting('preserve_insertion_order')").fetchall()
        assert setting == [(True,)]
    return found


@pytest.mark.parametrize("rows", [0, 1, 5, 1000])
@pytest.mark.parametrize("of", [1, 2, 7])
def test_rows_of_an_entity_are_in_one_chunk_and_all_rows_are_there(rows: int, of: int) -> None:
    view = _view(k="INT64")
    # A third is of one entity.
    sql = f"SELECT CASE WHEN i % 3 = 0 THEN 40 ELSE i % 90 END AS k, i FROM range({rows}) AS t(i)"
    chunks = _chunks(view, sql, rows, of)
    assert len(chunks) == of
    assert sorted(pa.concat_tables(chunks)["i"].to_pylist()) == [*range(rows)]
    keys = [set(chunk["k"].to_pylist()) for chunk in chunks]
    assert sum(map(len, keys)) == len(set().union(*keys))
    if of > 1:
        in_order = [key for chunk in chunks for key in chunk["k"].to_pylist()]
        assert in_order == sorted(in_order)
        assert all(chunk.num_rows <= rows // of + 1 + rows // 3 + rows // 90 + 1 for chunk in chunks)
    for first in range(1, of):  # as a run that was ended goes on
        again = [set(chunk["i"].to_pylist()) for chunk in _chunks(view, sql, rows, of, first)]
        assert again == [set(chunk["i"].to_pylist()) for chunk in chunks[first:]]


def test_chunks_are_cut_where_an_entity_ends_when_it_goes_over_many_batches() -> None:
    view = _view(k="INT64")
    sql = "SELECT CASE WHEN i < 300_000 THEN 1 ELSE 2 END AS k FROM range(300_010) AS t(i)"
    counts = [chunk.num_rows for chunk in _chunks(view, sql, 300_010, 5)]
    assert counts == [300_000, 0, 0, 0, 10]


def test_rows_that_can_answer_no_more_are_left_out() -> None:
    rows = [
        (1, 5, 5),
        (1, 9, 9),
        (1, 9, 10),
        (1, 7, 8),
        (1, 8, 14),
        (1, 12, 12),
        (2, 20, 1),
        (2, 3, 30),
        (3, 1, 2),
    ]
    sql = f"SELECT * FROM (VALUES {', '.join(map(str, rows))}) AS t(k, {EVENT}, {KNOWN})"
    view = replace(_view(k="INT64"), source_delay=timedelta(microseconds=2))
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TEMP VIEW given AS {sql}")
        name, count = create_answering(connection, view, "given", len(rows), 13)
        kept = connection.execute(f"SELECT * FROM {name} ORDER BY ALL").fetchall()
        assert count == len(kept)
        # Of 1 what comes is behind 9; of 2 nothing can be seen yet.
        assert kept == [(1, 9, 9), (1, 9, 10), (1, 12, 12), (2, 3, 30), (2, 20, 1), (3, 1, 2)]
        few = "SELECT * FROM given WHERE k <> 1 OR known = 12".replace("known", KNOWN)
        connection.execute(f"CREATE TEMP VIEW few AS {few}")
        assert create_answering(connection, view, "few", 3, 40) == ("few", 3)


def test_composite_texts_are_in_the_order_of_the_stores_keys() -> None:
    view = _view(user="BYTES", item="INT32")
    values = ", ".join(f"('{text}')" for text in _TEXTS)
    sql = f"SELECT user, item::INTEGER AS item FROM (VALUES {values}) AS u(user), range(3, 0, -1) AS t(item)"
    chunks = _chunks(view, sql, 3 * len(_TEXTS), 4)
    pairs = [(row["user"], row["item"]) for chunk in chunks for row in chunk.to_pylist()]
    stored = sorted(pairs, key=lambda pair: (len(pair[0].encode()), pair[0].encode(), pair[1]))
    assert pairs == stored
    assert [chunk.num_rows for chunk in chunks] == [6] * 4


def test_pieces_of_a_chunk_are_of_whole_entities() -> None:
    view = _view(customer_id="INT64")
    keys = np.repeat([3, 4, 5, 6, 7], [1, 5, 1, 2, 1])
    table = pa.table({"customer_id": keys, "event": np.arange(10)})
    cut = {
        rows: [piece["event"].to_pylist() for piece in pieces(view, table, rows)] for rows in (1, 3, 9, 10)
    }
    one_by_one = [[0], [1, 2, 3, 4, 5], [6], [7, 8], [9]]
    assert cut[1] == one_by_one
    assert cut[3] == [[0, 1, 2, 3, 4, 5], [6, 7, 8], [9]]
    assert cut[9] == [[*range(9)], [9]]
    assert cut[10] == [[*range(10)]]
    alone = pa.table({"customer_id": np.zeros(4, np.int64), "event": np.arange(4)})
    assert [piece["event"].to_pylist() for piece in pieces(view, alone, 2)] == [[0, 1, 2, 3]]


@pytest.mark.parametrize(
    ("given", "datatype", "dtype"),
    [
        (pa.array([1, None, 2**63], pa.uint64()), "UINT64", "uint64"),
        (pa.array([-(2**63), None, 2**63 - 1], pa.int64()), "INT64", "int64"),
        (pa.array([True, None, False]), "BOOL", "bool"),
        (pa.array([0.5, None, -0.0], pa.float32()), "FP32", "float32"),
        (pa.array(["a", None, ""]), "BYTES", "object"),
    ],
)
def test_values_keep_their_type_when_some_are_null(given: Any, datatype: str, dtype: str) -> None:
    table = pa.table({"v": pa.chunked_array([given, given[:1]])})
    values, nulls = column_of(table, "v", datatype)
    assert nulls is not None
    assert nulls.tolist() == [False, True, False, False]
    assert values.dtype == dtype
    assert [values[place] for place in (0, 2, 3)] == [given[place].as_py() for place in (0, 2, 0)]
    values, nulls = column_of(table.slice(2), "v", datatype)
    assert nulls is None
    assert values.dtype == dtype


def test_rows_that_cannot_be_read_are_an_error_that_names_the_view(tmp_path: Path) -> None:
    sql = (
        "SELECT CASE WHEN i < 900_000 THEN i ELSE error('no such row') END AS k FROM range(1_000_000) AS t(i)"
    )
    for of in (1, 2):
        with pytest.raises(DataError, match=r"view profile@1, source: .*no such row"):
            _chunks(_view(k="INT64"), sql, 1_000_000, of)

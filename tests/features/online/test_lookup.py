"""Views are looked up by keys as people write them: what is told of a row, and what is refused."""

import math
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from falaj.features import Column, DataError, DefinitionError, Entity, ParquetFiles, View
from falaj.features.online.lookup import Found, get, told
from falaj.features.online.store import open_view
from tests.features.online.store_engine import opened

NOW = 1_780_272_000_000_000
DAY = 86_400_000_000
_PAIR = Entity("pair", {"user": "BYTES", "item": "UINT64"})


def _view(name: str = "likes", entity: Entity = _PAIR) -> View:
    return View(
        name=name,
        version=1,
        entity=entity,
        source=ParquetFiles("none.parquet"),
        columns=(Column("score", "FP32"), Column("seen", "INT64"), Column("note", "BYTES")),
        event_time="at",
        known_time=None,
        ttl=timedelta(days=30),
    )


def _fill(url: str, view: View, keys: list[np.ndarray[Any, Any]]) -> None:
    """Rows that are present, present with nulls, and expired."""
    event = np.array([NOW - DAY, NOW - DAY, NOW - 31 * DAY], np.int64)
    open_view(opened(url), view).write(
        keys,
        event,
        event,
        np.zeros(3, np.int64),
        np.zeros(3, bool),
        [
            np.array([0.1, math.nan, 1], np.float32),
            np.array([2**63 - 1, 0, 1], np.int64),
            np.array(["é", None, "old"], object),
        ],
        [None, np.array([False, True, False]), np.array([False, True, False])],
        NOW,
        None,
    )


def _likes(url: str, keys: dict[str, list[object]]) -> Found:
    (found,) = get(opened(url), [_view()], keys, NOW)
    return found


def test_present_null_missing_and_expired_are_told_apart(empty_url: str) -> None:
    users, items = np.array(["a", "b", "c"], object), np.array([1, 2**64 - 1, 3], np.uint64)
    _fill(empty_url, _view(), [users, items])
    found = _likes(empty_url, {"item": [1, 2**64 - 1, 3, 2], "user": ["a", "b", "c", "a"]})
    assert found.status == ["present", "present", "expired", "missing"]
    assert found.values["seen"] == [2**63 - 1, None, None, None]
    assert found.values["note"] == ["é", None, None, None]
    scores = found.values["score"]
    assert scores[0] == 0.1
    assert isinstance(scores[1], float)
    assert math.isnan(scores[1])
    assert scores[2:] == [None, None]
    assert told([found])["likes@1"]["status"] == found.status


def test_views_of_other_entities_are_looked_up_at_once(empty_url: str) -> None:
    user = Entity("user", {"user": "BYTES"})
    _fill(empty_url, _view("profile", user), [np.array(["a", "b", "c"], object)])
    views = [_view(), _view("profile", user)]
    likes, profile = get(opened(empty_url), views, {"user": ["a", "z"], "item": [1, 1]}, NOW)
    assert likes.status == ["missing", "missing"]
    assert profile.status == ["present", "missing"]


def test_no_rows_are_answered_with_none(empty_url: str) -> None:
    assert _likes(empty_url, {"user": [], "item": []}).values == {"score": [], "seen": [], "note": []}


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"user": ["a"]}, "keys: expected user, item, got no 'item'"),
        ({"user": ["a"], "item": [1, 2]}, "keys: expected as many of each, got 1 and, of 'item', 2"),
        ({"user": ["a"], "item": [1], "x": [1]}, "keys: 'x' is no key of the views; expected user, item"),
        ({"user": ["a", 5], "item": [1, 1]}, "key 'user', row 1: expected BYTES, got 5"),
        ({"user": ["a"], "item": [-1]}, f"key 'item', row 0: expected UINT64, 0 to {2**64 - 1}, got -1"),
        ({"user": ["a"], "item": [1.0]}, "key 'item', row 0: expected UINT64, got 1.0"),
        ({"user": ["a"], "item": [None]}, "key 'item', row 0: expected UINT64, got None"),
    ],
)
def test_keys_that_do_not_fit_are_refused(
    empty_url: str, keys: dict[str, list[object]], complaint: str
) -> None:
    with pytest.raises(DataError) as error:
        _likes(empty_url, keys)
    assert str(error.value) == complaint


def test_views_that_disagree_on_a_key_are_refused(empty_url: str) -> None:
    views = [_view(), _view("other", Entity("user", {"user": "INT64"}))]
    with pytest.raises(DefinitionError, match="view other@1: key 'user': is INT64, and BYTES in another"):
        get(opened(empty_url), views, {"user": [1], "item": [1]}, NOW)

"""Features over the wire: read from the real server's store, by definitions in its registry."""

import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from falaj.features.online.store import open_store
from falaj.features.registry import Registry
from tests.features.online.redis_server import redis_server
from tests.server.joined_model import account, fill
from tests.server.serving_process import ROOT, Serving

pytestmark = pytest.mark.core

_GET = "/v1/features/get"


@pytest.fixture(scope="module", params=["lmdb", "redis"])
def store_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "lmdb":
        yield f"lmdb://{tmp_path_factory.mktemp('online')}"
        return
    with redis_server() as server:
        yield server.url


@pytest.fixture(scope="module")
def serving(store_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server without models, whose store has `account@1`; `account@2` is registered only."""
    folder = tmp_path_factory.mktemp("serving")
    (folder / "models").mkdir()
    Registry(folder / "data" / "features.db").apply([account(), replace(account(ttl_days=1), version=2)])
    fill(store_url, account(), time.time_ns() // 1000)
    arguments = ("--data-dir", str(folder / "data"), "--set", f"features.store={store_url}")
    with Serving(folder, *arguments) as serving:
        yield serving


def ask(serving: Serving, path: str, body: object) -> tuple[int, Any]:
    status, _, answer = serving.ask("POST", path, body)
    return status, json.loads(answer)


def _error(serving: Serving, path: str, body: object, expected: int) -> str:
    status, answer = ask(serving, path, body)
    assert status == expected, answer
    assert answer.keys() == {"error"}
    assert isinstance(answer["error"], str)
    return answer["error"]


def test_status_and_values_of_each_row_are_told(serving: Serving) -> None:
    asked = {"views": ["account@1", "account"], "keys": {"customer_id": [1, 2, 3, 4, 5, 2**63 - 1]}}
    for _ in range(2):  # not opened yet, and opened
        status, answer = ask(serving, _GET, asked)
        assert status == 200
        assert answer["views"]["account@1"] == {
            "status": ["present", "present", "missing", "expired", "present", "missing"],
            "values": {
                "income": [10.0, None, None, None, 50.5, None],
                "visits": [1, 2, None, None, None, None],
            },
        }
        assert answer["views"]["account@2"]["status"] == ["missing"] * 6


def test_many_rows_are_read_and_too_many_refused(serving: Serving) -> None:
    keys = {"customer_id": [1, 9] * 5000}
    status, answer = ask(serving, _GET, {"views": ["account@1"], "keys": keys})
    assert (status, answer["views"]["account@1"]["status"]) == (200, ["present", "missing"] * 5000)
    keys["customer_id"].append(1)
    told = _error(serving, _GET, {"views": ["account@1"], "keys": keys}, 400)
    assert told == "expected at most 10000 rows in a request, got 10001"


def test_request_is_refused_when_it_or_its_answer_is_too_large(serving: Serving) -> None:
    keys = {"customer_id": [1] * 2000}
    assert ask(serving, _GET, {"views": ["account@1"] * 50, "keys": keys})[0] == 200
    told = _error(serving, _GET, {"views": ["account@1", "account"] * 26, "keys": keys}, 400)
    assert told == (
        "expected at most 200000 values in an answer, rows times columns of the views, got 208000"
    )
    assert _error(serving, _GET, {"views": ["account@1"] * 65, "keys": keys}, 400).endswith("64, got 65")
    long = "x" * (16 << 20)
    for path, body in (
        (_GET, {"views": ["account@1"], "keys": {"customer_id": [long]}}),
        ("/v1/features/account@1/push", {"rows": {"customer_id": long}}),
    ):
        assert _error(serving, path, body, 413) == "the request's body is larger than 16777216 bytes"


@pytest.mark.parametrize(
    ("views", "keys", "status", "complaint"),
    [
        (["orders"], {"customer_id": [1]}, 404, "view orders: is not registered"),
        (["account@7"], {"customer_id": [1]}, 404, "view account@7: is not registered; there are 1, 2"),
        (["account@x"], {"customer_id": [1]}, 400, "expected VIEW or VIEW@VERSION, got 'account@x'"),
        ([], {"customer_id": [1]}, 400, "views: expected 1 to 64, got 0"),
        (["account@1"], {}, 400, "keys: expected customer_id, got no 'customer_id'"),
        (["account@1"], {"customer_id": ["1"]}, 400, "key 'customer_id', row 0: expected INT64, got '1'"),
        (
            ["account@1"],
            {"customer_id": [1.5]},
            400,
            "the request's body: Expected `int | str`, got `float` - at `$.keys[...][0]`",
        ),
    ],
)
def test_reason_is_told_when_a_request_is_refused(
    serving: Serving, views: list[str], keys: dict[str, list[object]], status: int, complaint: str
) -> None:
    assert _error(serving, _GET, {"views": views, "keys": keys}, status) == complaint


def _push(serving: Serving, view: str, rows: object) -> tuple[int, Any]:
    return ask(serving, f"/v1/features/{view}/push", {"rows": rows})


def _account(serving: Serving, key: int, view: str = "account@1") -> dict[str, Any]:
    status, answer = ask(serving, _GET, {"views": [view], "keys": {"customer_id": [key]}})
    assert status == 200
    found: dict[str, Any] = answer["views"][view]
    return found


def test_pushed_rows_are_read_when_the_answer_is_there(serving: Serving) -> None:
    at = time.time_ns() // 1000
    row = {"customer_id": 100, "at": at, "income": math.nan, "visits": 2**63 - 1}
    assert _push(serving, "account@1", row) == (200, {"view": "account@1", "rows": 1, "entities": 1})
    values = _account(serving, 100)["values"]
    assert math.isnan(values["income"][0])
    assert values["visits"] == [2**63 - 1]
    iso = datetime.fromtimestamp(at // 1_000_000, UTC).isoformat()
    later = [{"customer_id": key, "at": iso, "income": None, "visits": 1} for key in (101, 102)]
    assert _push(serving, "account", later)[1] == {"view": "account@2", "rows": 2, "entities": 2}
    assert _account(serving, 102, "account@2")["values"] == {"income": [None], "visits": [1]}
    assert _account(serving, 102)["status"] == ["missing"]


def test_every_push_is_in_when_many_come_at_once(serving: Serving) -> None:
    at = time.time_ns() // 1000
    rows = [{"customer_id": 1000 + key, "at": at, "income": 1, "visits": key} for key in range(40)]
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda row: _push(serving, "account@1", row), rows))
    assert {status for status, _ in answers} == {200}
    asked = {"views": ["account@1"], "keys": {"customer_id": [row["customer_id"] for row in rows]}}
    assert ask(serving, _GET, asked)[1]["views"]["account@1"]["values"]["visits"] == list(range(40))


def test_nothing_is_written_when_a_pushed_row_does_not_fit(serving: Serving) -> None:
    good = {"customer_id": 200, "at": 1, "income": 1.0, "visits": 1}
    path = "/v1/features/account@1/push"
    told = _error(serving, path, {"rows": [good, {**good, "visits": 1.5}]}, 400)
    assert told == "row 1, column 'visits': expected INT64, got 1.5"
    assert _account(serving, 200)["status"] == ["missing"]
    assert "is not registered" in _error(serving, "/v1/features/none/push", {"rows": [good]}, 404)
    assert "at most 10000 rows" in _error(serving, path, {"rows": [good] * 10_001}, 400)
    assert "$.rows" in _error(serving, path, {"rows": [[1]]}, 400)
    assert _error(serving, path, {}, 400) == "the request's body: Object missing required field `rows`"
    headers = {"origin": "http://evil.test"}
    assert serving.ask("POST", path, {"rows": good}, headers=headers)[0] == 403


def test_view_is_written_and_read_when_it_was_made_anew(
    serving: Serving, request: pytest.FixtureRequest
) -> None:
    row = {"customer_id": 300, "at": 10_000_000, "income": 1.0, "visits": 1}
    assert _push(serving, "account@2", row)[0] == 200
    store = open_store(request.getfixturevalue("store_url"))
    store.drop_view("account", 2)
    assert _account(serving, 300, "account@2")["status"] == ["missing"]
    assert _push(serving, "account@2", {**row, "at": time.time_ns() // 1000})[0] == 200
    assert _account(serving, 300, "account@2")["status"] == ["present"]


def metrics(serving: Serving, of: str) -> dict[str, float]:
    """Return the samples whose names begin so, by the rest of the name and the labels."""
    page = serving.ask("GET", "/metrics", listener="metrics")[2].decode()
    lines = [line for line in page.splitlines() if line.startswith(of)]
    return {name.removeprefix(of): float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_pushes_are_counted_by_view_when_they_are_written_and_when_not(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    Registry(tmp_path / "data" / "features.db").apply([replace(account(), sequence="n")])
    with Serving(tmp_path, "--data-dir", str(tmp_path / "data")) as serving:
        at, of = time.time_ns() // 1000, "falaj_feature_push_"
        rows = [{"customer_id": key, "at": at, "n": 1, "income": 1.0, "visits": 1} for key in (1, 2, 2)]
        older = {**rows[0], "at": at - 10, "visits": 5}
        begin = time.monotonic()
        for pushed, entities in ((rows, 2), (rows[0], 0), ([older, {**rows[2], "at": at + 1}], 1)):
            status, answer = _push(serving, "account", pushed)
            assert (status, answer["entities"]) == (200, entities)
        seconds = time.monotonic() - begin
        for view, given, status in (
            ("account", {**rows[0], "visits": "many"}, 400),
            ("account", [rows[0]] * 10_001, 400),
            ("nothing", rows[0], 404),
        ):
            assert _push(serving, view, given)[0] == status
        view = 'view="account@1"'
        told = metrics(serving, of)
        assert told[f"rows_total{{{view}}}"] == 6
        assert told[f"unchanged_entities_total{{{view}}}"] == 2
        assert {name: count for name, count in told.items() if name.startswith("refused")} == {
            f'refused_total{{reason="invalid",{view}}}': 1,
            'refused_total{reason="invalid",view=""}': 1,
            'refused_total{reason="unknown_view",view=""}': 1,
        }
        assert told[f"seconds_count{{{view}}}"] == told[f'seconds_bucket{{le="+Inf",{view}}}'] == 3
        assert 0 < told[f"seconds_sum{{{view}}}"] < seconds
        buckets = [count for name, count in told.items() if name.startswith("seconds_bucket")]
        assert buckets == sorted(buckets)


def test_nothing_of_serving_needs_duckdb_when_no_log_is_kept() -> None:
    modules = "falaj.server.ops.serve, falaj.server.ops.metrics, falaj.server.api.asgi"
    code = f"import sys; sys.modules['duckdb'] = None; import {modules}"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_push_is_refused_and_nothing_is_written_when_it_is_turned_off(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    Registry(tmp_path / "data" / "features.db").apply([account()])
    with Serving(tmp_path, "--data-dir", str(tmp_path / "data"), "--set", "features.push=false") as serving:
        row = {"customer_id": 1, "at": time.time_ns() // 1000, "income": 1.0, "visits": 1}
        for view in ("account@1", "nothing"):
            told = _error(serving, f"/v1/features/{view}/push", {"rows": row}, 403)
            assert told == "requests do not write to views here: features.push is false"
        refused = metrics(serving, "falaj_feature_push_refused_total")
        assert refused == {'{reason="off",view=""}': 2}
        assert _account(serving, 1, "account@1")["status"] == ["missing"]


def test_store_that_is_away_is_told(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    Registry(tmp_path / "data" / "features.db").apply([account()])
    with redis_server() as server:
        url = server.url
    arguments = ("--data-dir", str(tmp_path / "data"), "--set", f"features.store={url}")
    with Serving(tmp_path, *arguments) as serving:
        asked = {"views": ["account@1"], "keys": {"customer_id": [1]}}
        assert "cannot be reached" in _error(serving, _GET, asked, 503)
        row = {"customer_id": 1, "at": 1, "income": 1.0, "visits": 1}
        assert "cannot be reached" in _error(serving, "/v1/features/account@1/push", {"rows": row}, 503)
        assert serving.is_ready()

"""Features over the wire: read from the real server's store, by definitions in its registry."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from falaj.features.registry import Registry
from tests.features.online.redis_server import redis_server
from tests.server.joined_model import account, fill
from tests.server.serving_process import Serving

pytestmark = pytest.mark.core

_GET = "/v1/features/get"


@pytest.fixture(scope="module", params=["lmdb", "redis"])
def serving(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server without models, whose store has `account@1`; `account@2` is registered only."""
    folder = tmp_path_factory.mktemp("serving")
    (folder / "models").mkdir()
    Registry(folder / "data" / "features.db").apply([account(), replace(account(ttl_days=1), version=2)])
    arguments = ("--data-dir", str(folder / "data"))
    if request.param == "lmdb":
        fill(folder / "data" / "online", account(), time.time_ns() // 1000)
        with Serving(folder, *arguments) as serving:
            yield serving
        return
    with redis_server() as server:
        fill(server.url, account(), time.time_ns() // 1000)
        with Serving(folder, *arguments, "--set", f"features.store={server.url}") as serving:
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

"""Requests that say as of when they are looked up, in process and over the wire."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import onnx
import pytest

import falaj
from falaj.features import Aggregate, Column, ParquetFiles, View
from falaj.features.binding import Binding, BoundInput, BoundView, Feature, write_binding
from falaj.features.online.store import open_store, open_view
from falaj.features.registry import Registry
from tests.features.online.redis_server import redis_server
from tests.server.joined_model import DAY, account, add_joined, fill
from tests.server.serving_process import Serving

pytestmark = pytest.mark.core

_TTL_DAYS = 3650


@dataclass(frozen=True)
class Past:
    """A store whose rows are true from `begin` until `end`, UTC µs, and a model that asks it."""

    url: str
    folder: Path
    begin: int
    end: int

    @property
    def times(self) -> list[int]:
        return [self.begin - 1, self.begin, self.end, self.end + 1]


_SERVED = [-1.0, 10.0, 10.0, -1.0]  # at `times`, by the default of the column


@pytest.fixture(params=["lmdb", "redis"])
def past(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Past]:
    now = time.time_ns() // 1000
    view = account(ttl_days=_TTL_DAYS)
    add_joined(tmp_path / "models", view)

    def filled(url: str) -> Past:
        fill(url, view, now)
        return Past(url, tmp_path, now - DAY, now - DAY + _TTL_DAYS * DAY)

    if request.param == "lmdb":
        yield filled(f"lmdb://{tmp_path / 'online'}")
        return
    with redis_server() as server:
        yield filled(server.url)


def _column(values: list[int]) -> np.ndarray:
    return np.array(values, np.int64).reshape(-1, 1)


def test_each_row_is_looked_up_as_of_its_time_when_a_request_says_it(past: Past) -> None:
    with falaj.Engine(past.folder / "models", cores=1, features=past.url, features_as_of=True) as engine:
        asked = {"customer_id": _column([1] * 4), "amount": np.zeros((4, 1), np.float32)}
        told = {**asked, "features_as_of": _column(past.times)}
        wanted = ["seen", "account__status"]
        answer = engine.infer("score", told, outputs=wanted)
        assert answer["seen"][:, 0].tolist() == _SERVED
        statuses = [b"missing", b"present", b"present", b"expired"]
        assert answer["account__status"].ravel().tolist() == statuses
        answer = engine.infer("score", asked, outputs=wanted)
        assert answer["account__status"].ravel().tolist() == [b"present"] * 4
        with pytest.raises(falaj.InvalidInput, match="features_as_of"):
            engine.infer("score", {**told, "features_as_of": _column(past.times)[:2]})


def test_requests_of_one_batch_are_looked_up_each_as_of_its_time(past: Past) -> None:
    with falaj.Engine(past.folder / "models", cores=1, features=past.url, features_as_of=True) as engine:

        def ask(number: int) -> float:
            asked = {"customer_id": _column([1]), "amount": np.zeros((1, 1), np.float32)}
            if number % 5 != 4:
                asked["features_as_of"] = _column([past.times[number % 5]])
            return float(engine.infer("score", asked)["seen"][0, 0])

        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(ask, range(200)))
    assert answers == [*_SERVED, 10.0] * 40


@pytest.mark.parametrize("allowed", [True, False])
def test_server_takes_the_time_of_a_request_only_when_it_is_set_to(past: Past, allowed: bool) -> None:
    arguments = ["--set", f"features.store={past.url}"]
    with Serving(past.folder, *arguments, *(["--set", "features.as_of=true"] if allowed else [])) as serving:
        inputs = [
            {"name": "customer_id", "datatype": "INT64", "shape": [4, 1], "data": [1] * 4},
            {"name": "amount", "datatype": "FP32", "shape": [4, 1], "data": [0] * 4},
            {"name": "features_as_of", "datatype": "INT64", "shape": [4, 1], "data": past.times},
        ]
        status, _, answer = serving.ask("POST", "/v2/models/score/infer", {"inputs": inputs})
    if allowed:
        assert status == 200
        (seen,) = (each for each in json.loads(answer)["outputs"] if each["name"] == "seen")
        assert seen["data"][::3] == _SERVED
    else:
        assert status == 400
        assert "features_as_of" in json.loads(answer)["error"]


def _orders(as_of: int | None, serving: Serving, at: int, order: str) -> tuple[int, str]:
    body: dict[str, object] = {"rows": {"customer_id": 1, "at": at, "order_id": order, "amount": 2.5}}
    if as_of is not None:
        body["features_as_of"] = as_of
    status, _, answer = serving.ask("POST", "/v1/features/orders/push", body)
    return status, answer.decode()


@pytest.mark.parametrize("allowed", [True, False])
def test_windows_of_the_past_are_kept_when_a_push_says_its_time(tmp_path: Path, allowed: bool) -> None:
    total = Aggregate("total", "sum", Column("amount", "FP64"), timedelta(hours=1))
    orders = View(
        name="orders",
        version=1,
        entity=account().entity,
        source=ParquetFiles("none/*.parquet"),
        aggregates=(total,),
        event_time="at",
        known_time=None,
        event_id="order_id",
    )
    (tmp_path / "models").mkdir()
    Registry(tmp_path / "data" / "features.db").apply([orders])
    arguments = ["--data-dir", str(tmp_path / "data")]
    at = 1_372_636_800_000_000  # of July 2013, UTC µs
    with Serving(tmp_path, *arguments, *(["--set", "features.as_of=true"] if allowed else [])) as serving:
        told = [_orders(at + 1, serving, at, "a"), _orders(at + 60_000_000, serving, at + 60_000_000, "b")]
        never = _orders(2**63 - 1, serving, at, "c")
    assert never[0] == 400
    view = open_view(open_store(f"lmdb://{tmp_path / 'data' / 'online'}"), orders)
    _, (sums,), _ = view.read([np.array([1])], at + 60_000_000)
    if allowed:
        assert [status for status, _ in told] == [200, 200]
        assert sums.tolist() == [5.0]
    else:
        refused = '{"error":"features_as_of: is not taken here: features.as_of is false"}'
        assert told == [(400, refused)] * 2


def test_model_gets_a_key_when_an_input_is_named_for_it(tmp_path: Path) -> None:
    view = account()
    fill(tmp_path / "online", view, time.time_ns() // 1000)
    folder = tmp_path / "models" / "echo" / "1"
    folder.mkdir(parents=True)
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]> echo (int64[rows, 1] customer_id, float[rows, 1] income)
        => (int64[rows, 1] key, float[rows, 1] same)
        { key = Identity(customer_id) same = Identity(income) }"""
    )
    onnx.save(model, folder / "model.onnx")
    bound = BoundInput("income", (Feature("account", "income"),))
    write_binding(folder, Binding((BoundView(view),), (bound,)))
    with falaj.Engine(tmp_path / "models", cores=1, features=f"lmdb://{tmp_path / 'online'}") as engine:
        answer = engine.infer("echo", {"customer_id": _column([5, 1])})
    assert answer["key"].ravel().tolist() == [5, 1]
    assert answer["same"].ravel().tolist() == [50.5, 10.0]

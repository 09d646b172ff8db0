"""Models that look features up: what requests by key are answered with, in process and over the wire."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc

import falaj
from falaj.features import Aggregate, Column
from falaj.features.binding import OnMissing
from falaj.features.online.store import open_store, open_view
from tests.server.joined_model import account, add_joined, fill
from tests.server.serving_process import Serving

pytestmark = pytest.mark.core


def _now() -> int:
    return time.time_ns() // 1000


def _ids(*ids: int) -> np.ndarray[Any, Any]:
    return np.array(ids, np.int64).reshape(-1, 1)


def _amounts(*values: float) -> np.ndarray[Any, Any]:
    return np.array(values, np.float32).reshape(-1, 1)


def _engine(folder: Path, on_missing: OnMissing = "default", default: float | None = -1.0) -> falaj.Engine:
    view = account(default=default)
    fill(folder / "online", view, _now())
    add_joined(folder / "models", view, on_missing)
    return falaj.Engine(folder / "models", cores=1, strict=True, features=f"lmdb://{folder / 'online'}")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[falaj.Engine]:
    with _engine(tmp_path) as engine:
        yield engine


def test_defaults_serve_when_values_are_null_missing_or_expired(engine: falaj.Engine) -> None:
    answer = engine.infer("score", {"customer_id": _ids(1, 2, 3, 4, 5, 6), "amount": _amounts(*[100] * 6)})
    expected = [[10, 1, 100], [-1, 2, 100], [-1, 7, 100], [-1, 7, 100], [50.5, 7, 100], [-1, 7, 100]]
    assert answer["seen"].tolist() == expected
    assert answer["y"].ravel().tolist() == [sum(row) for row in expected]
    assert list(answer) == ["y", "seen"]


def test_nan_serves_when_the_view_says_so(tmp_path: Path) -> None:
    with _engine(tmp_path, "nan") as engine:
        answer = engine.infer("score", {"customer_id": _ids(1, 2, 9), "amount": _amounts(0, 0, 0)})
    np.testing.assert_array_equal(answer["seen"], [[10, 1, 0], [-1, 2, 0], [np.nan, np.nan, 0]])


def test_nan_serves_when_a_column_has_no_default(tmp_path: Path) -> None:
    with _engine(tmp_path, default=None) as engine:
        answer = engine.infer("score", {"customer_id": _ids(2, 9), "amount": _amounts(0, 0)})
    np.testing.assert_array_equal(answer["seen"], [[np.nan, 2, 0], [np.nan, 7, 0]])


def test_only_the_request_of_an_unknown_entity_is_refused_when_the_view_rejects(tmp_path: Path) -> None:
    with _engine(tmp_path, "reject") as engine:
        asked = [{"customer_id": _ids(key), "amount": _amounts(0)} for key in (1, 9, 4, 5)]
        answers = engine.infer_many("score", asked, return_exceptions=True)
        assert isinstance(answers[1], falaj.InvalidInput)
        assert "customer_id 9 are missing" in str(answers[1])
        assert isinstance(answers[2], falaj.InvalidInput)
        assert "customer_id 4 are expired" in str(answers[2])
        assert answers[0]["y"].item() == 11
        assert answers[3]["y"].item() == 57.5
        brought = {"account__income": _amounts(1), "account__visits": _ids(2)}
        assert engine.infer("score", {**asked[1], **brought})["y"].item() == 3


def test_features_of_the_request_serve_when_it_brings_them(engine: falaj.Engine) -> None:
    key = {"customer_id": _ids(1, 9), "amount": _amounts(0, 0)}
    many = [key, {**key, "account__visits": _ids(20, 30)}, key]
    answers = engine.infer_many("score", many)
    assert answers[1]["seen"].tolist() == [[10, 20, 0], [-1, 30, 0]]
    assert answers[0]["seen"].tolist() == answers[2]["seen"].tolist() == [[10, 1, 0], [-1, 7, 0]]


def test_features_come_back_when_they_are_asked_for(engine: falaj.Engine) -> None:
    asked = {
        "customer_id": _ids(1, 2, 4, 9),
        "amount": _amounts(0, 0, 0, 0),
        "account__visits": _ids(1, 2, 3, 4),
    }
    names = ["y", "account__income", "account__visits", "account__status"]
    answer = engine.infer("score", asked, outputs=names)
    assert answer["account__income"].ravel().tolist() == [10, -1, -1, -1]
    assert answer["account__visits"].ravel().tolist() == [1, 2, 3, 4]
    assert answer["account__status"].ravel().tolist() == [b"present", b"present", b"expired", b"missing"]


def test_values_are_as_of_now_when_a_row_is_written_between_requests(tmp_path: Path) -> None:
    with _engine(tmp_path) as engine:
        asked = {"customer_id": _ids(1), "amount": _amounts(0)}
        assert engine.infer("score", asked)["y"].item() == 11
        fill(tmp_path / "online", account(), _now(), {1: (20, 1)})
        assert engine.infer("score", asked)["y"].item() == 21


def test_windows_are_as_of_now_when_an_event_comes_between_requests(tmp_path: Path) -> None:
    hour, zeros = timedelta(hours=1), np.zeros(1, np.int64)
    view = replace(
        account(),
        columns=(),
        ttl=None,
        aggregates=(
            Aggregate("income", "sum", Column("earned", "FP64"), hour),
            Aggregate("visits", "count", None, hour),
        ),
    )
    url = f"lmdb://{tmp_path / 'online'}"
    online = open_view(open_store(url), view)
    add_joined(tmp_path / "models", view)
    with falaj.Engine(tmp_path / "models", cores=1, strict=True, features=url) as engine:
        for earned, seen in ((10.0, [10.0, 1.0, 0.0]), (2.5, [12.5, 2.0, 0.0])):
            now = np.array([_now()])
            given = [np.array([earned])], [None], _now(), None
            online.write([np.array([1])], now, now, zeros, zeros.astype(bool), *given)
            asked = {"customer_id": _ids(1, 2), "amount": _amounts(0, 0)}
            x = engine.infer("score", asked, outputs=["seen"])["seen"]
            assert x[0].tolist() == seen
            assert np.isnan(x[1, 0])  # a sum of no events
            assert x[1, 1:].tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"amount": _amounts(0)}, "input 'customer_id': expected INT64 .-1, 1., it is missing"),
        ({"customer_id": _ids(1, 2), "amount": _amounts(0)}, "expected 2 rows"),
        ({"customer_id": _ids(1), "amount": _amounts(0), "income": _amounts(0)}, "no input 'income'"),
        (
            {"customer_id": _ids(1), "amount": _amounts(0), "account__visits": _ids(1, 2)},
            "account__visits.*expected 1 rows",
        ),
    ],
)
def test_requests_are_refused_when_keys_do_not_fit(
    engine: falaj.Engine, inputs: dict[str, Any], message: str
) -> None:
    with pytest.raises(falaj.InvalidInput, match=message):
        engine.infer("score", inputs)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Serving]:
    view = account()
    fill(tmp_path / "online", view, _now())
    add_joined(tmp_path / "models", view)
    with Serving(tmp_path, f"--set=features.store=lmdb://{tmp_path / 'online'}") as server:
        yield server


def _json(name: str, datatype: str, *data: float) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [len(data), 1], "data": [*data]}


def test_json_requests_are_answered_with_the_vector_when_they_ask_for_it(server: Serving) -> None:
    inputs = [_json("customer_id", "INT64", 1, 9), _json("amount", "FP32", 5, 6)]
    path = "/v2/models/score/infer"
    status, _, told = server.ask("POST", path, {"inputs": inputs})
    assert status == 200, told
    plain = json.loads(told)
    assert [output["name"] for output in plain["outputs"]] == ["y", "seen"]
    assert plain["outputs"][0]["data"] == [16, 12]
    assert "parameters" not in plain
    body = {"inputs": inputs, "parameters": {"return_features": True}, "outputs": [{"name": "y"}]}
    status, _, told = server.ask("POST", path, body)
    assert status == 200, told
    assert {output["name"]: output["data"] for output in json.loads(told)["outputs"]} == {
        "y": [16, 12],
        "account__income": [10, -1],
        "account__visits": [1, 7],
        "account__status": ["present", "missing"],
    }


def test_metadata_names_keys_when_the_model_looks_features_up(server: Serving) -> None:
    _, _, told = server.ask("GET", "/v2/models/score")
    metadata = json.loads(told)
    assert [tensor["name"] for tensor in metadata["inputs"]] == ["customer_id", "amount"]
    assert [tensor["name"] for tensor in metadata["outputs"]] == ["y", "seen"]


def test_grpc_requests_override_and_read_features(server: Serving) -> None:
    client = triton_grpc.InferenceServerClient(f"127.0.0.1:{server.ready['grpc']}")
    inputs = []
    for name, array in (("customer_id", _ids(1)), ("amount", _amounts(5)), ("account__visits", _ids(3))):
        tensor = triton_grpc.InferInput(name, array.shape, "INT64" if array.dtype == np.int64 else "FP32")
        tensor.set_data_from_numpy(array)
        inputs.append(tensor)
    answer = client.infer("score", inputs, parameters={"return_features": True})
    client.close()
    assert answer.as_numpy("y").item() == 18
    assert answer.as_numpy("account__visits").item() == 3
    assert answer.as_numpy("account__status").item() == b"present"


def test_a_model_without_features_refuses_to_return_any(server: Serving, tmp_path: Path) -> None:
    from tests.serving import add_python

    add_python(tmp_path / "models", "plain")
    status, _, told = server.ask("POST", "/v2/repository/models/plain/load")
    assert status == 200, told
    body = {"inputs": [_json("x", "FP32", 1)], "parameters": {"return_features": True}}
    status, _, told = server.ask("POST", "/v2/models/plain/infer", body)
    assert status == 400
    assert b"looks no features up" in told

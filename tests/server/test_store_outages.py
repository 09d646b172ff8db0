"""A server whose models look features up in Redis, while the network is cut, slow or silent."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tritonclient.grpc as triton_grpc
from tritonclient.utils import InferenceServerException

import falaj
from falaj.features.binding import BoundView, OnMissing, bind_all, write_binding
from tests.features.online.fault_proxy import FaultProxy, fault_proxy
from tests.features.online.redis_server import RedisServer, redis_server
from tests.server.joined_model import account, add_joined, fill
from tests.server.serving_process import Serving

_BUDGET_MS = 100
_SLOWEST = 1.5  # seconds of an answer on a busy machine; the store itself has 3
_FRESH, _DEFAULT = 111.0, 106.0  # of customer 1, and of whom nothing is known
_PATIENCE = 30

FAULTS: dict[str, Callable[[FaultProxy], None]] = {
    "cut": lambda proxy: (proxy.does(lambda answer: []), proxy.cut())[0],
    "slow": lambda proxy: proxy.does(_slowly),
    "silent": lambda proxy: proxy.does(lambda answer: [b""]),
}


def _slowly(answer: bytes) -> list[bytes]:
    time.sleep(0.5)
    return [answer]


def _now() -> int:
    return time.time_ns() // 1000


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        fill(server.url, account(), _now())
        yield server


@pytest.fixture
def proxy(redis: RedisServer) -> Iterator[FaultProxy]:
    with fault_proxy(redis.port) as proxy:
        yield proxy


@contextmanager
def _serving(
    folder: Path, proxy: FaultProxy, on_missing: OnMissing = "default", max_staleness_ms: float = 0
) -> Iterator[Serving]:
    add_joined(
        folder / "models", account(), on_missing, budget_ms=_BUDGET_MS, max_staleness_ms=max_staleness_ms
    )
    store = f"redis://127.0.0.1:{proxy.port}/?timeout_ms=3000"
    with Serving(folder, f"--set=features.store={store}") as server:
        yield server


def _ask(server: Serving, *keys: int) -> tuple[int, dict[str, Any]]:
    """Ask by HTTP; the answer comes in time."""
    inputs = [
        {"name": name, "datatype": datatype, "shape": [len(keys), 1], "data": data}
        for name, datatype, data in (("customer_id", "INT64", keys), ("amount", "FP32", [100] * len(keys)))
    ]
    outputs = [{"name": "y"}, {"name": "account__status"}]
    begin = time.monotonic()
    status, _, told = server.ask("POST", "/v2/models/score/infer", {"inputs": inputs, "outputs": outputs})
    assert time.monotonic() - begin < _SLOWEST
    return status, json.loads(told)


def _values(answer: dict[str, Any]) -> list[float]:
    values: list[float] = answer["outputs"][0]["data"]
    return values


def _is_stale(answer: dict[str, Any]) -> bool:
    stale = answer.get("parameters", {}).get("features_stale", False)
    assert (answer["outputs"][1]["data"][0] == "stale") == stale
    return bool(stale)


def _ask_until_fresh(server: Serving, *keys: int) -> list[float]:
    end = time.monotonic() + _PATIENCE
    while True:
        status, answer = _ask(server, *keys)
        if status == 200 and not _is_stale(answer):
            return _values(answer)
        assert time.monotonic() < end


def _ask_by_grpc(server: Serving, key: int) -> tuple[float, bool]:
    """Return the value, and whether it is told to be stale."""
    inputs = [
        triton_grpc.InferInput("customer_id", [1, 1], "INT64"),
        triton_grpc.InferInput("amount", [1, 1], "FP32"),
    ]
    inputs[0].set_data_from_numpy(np.array([[key]], np.int64))
    inputs[1].set_data_from_numpy(np.array([[100]], np.float32))
    client = triton_grpc.InferenceServerClient(f"127.0.0.1:{server.ready['grpc']}")
    try:
        begin = time.monotonic()
        answer = client.infer("score", inputs)
        assert time.monotonic() - begin < _SLOWEST
        return answer.as_numpy("y").item(), answer.get_response().parameters["features_stale"].bool_param
    finally:
        client.close()


@pytest.mark.parametrize("fault", FAULTS)
def test_defaults_serve_within_the_budget_and_say_so(tmp_path: Path, proxy: FaultProxy, fault: str) -> None:
    with _serving(tmp_path, proxy) as server:
        assert _ask_until_fresh(server, 1, 9) == [_FRESH, _DEFAULT]
        FAULTS[fault](proxy)
        for _ in range(5):
            status, answer = _ask(server, 1, 9)
            assert (status, _values(answer), _is_stale(answer)) == (200, [_DEFAULT, _DEFAULT], True)
            assert answer["outputs"][1]["data"] == ["stale", "stale"]
            assert _ask_by_grpc(server, 1) == (_DEFAULT, True)
        _, _, metrics = server.ask("GET", "/metrics", listener="metrics")
        (told,) = (line for line in metrics.decode().splitlines() if line.startswith("falaj_stale_features"))
        assert float(told.split()[-1]) >= 10
        proxy.forwards()
        assert _ask_until_fresh(server, 1, 9) == [_FRESH, _DEFAULT]
        assert _ask_by_grpc(server, 1) == (_FRESH, False)


@pytest.mark.parametrize("fault", FAULTS)
def test_cached_values_serve_until_the_store_answers_again(
    tmp_path: Path, redis: RedisServer, proxy: FaultProxy, fault: str
) -> None:
    with _serving(tmp_path, proxy, max_staleness_ms=600_000) as server:
        assert _ask_until_fresh(server, 1) == [_FRESH]
        FAULTS[fault](proxy)
        fill(redis.url, account(), _now(), {1: (20, 1), 5: (20, 1)})
        for _ in range(5):
            status, answer = _ask(server, 1, 5)  # 5 was never asked for
            assert (status, _values(answer), _is_stale(answer)) == (200, [_FRESH, _DEFAULT], True)
            assert answer["outputs"][1]["data"] == ["stale", "stale"]
            assert _ask_by_grpc(server, 1) == (_FRESH, True)
        proxy.forwards()
        assert _ask_until_fresh(server, 1, 5) == [121, 121]


def test_no_request_fails_when_the_store_is_restarted_under_load(tmp_path: Path) -> None:
    ended = threading.Event()
    answers: list[bool] = []  # whether each was stale

    def ask() -> tuple[list[float], bool]:
        status, answer = _ask(server, 1)
        assert status == 200
        answers.append(_is_stale(answer))
        return _values(answer), answers[-1]

    def ask_on() -> None:
        while not ended.is_set():
            (value,), is_stale = ask()
            # What was read before; or of the new store, whose rows come a moment after it.
            assert value in ((_FRESH, _DEFAULT) if is_stale else (_FRESH, _DEFAULT, 121))

    def ask_until(*, is_stale: bool, value: float) -> None:
        end = time.monotonic() + _PATIENCE
        while ask() != ([value], is_stale):
            assert time.monotonic() < end

    with redis_server() as first:
        fill(first.url, account(), _now())
        add_joined(tmp_path / "models", account(), "default", budget_ms=_BUDGET_MS, max_staleness_ms=600_000)
        store = f"redis://127.0.0.1:{first.port}/?timeout_ms=3000"
        with Serving(tmp_path, f"--set=features.store={store}") as server, ThreadPoolExecutor(4) as threads:
            ask_until(is_stale=False, value=_FRESH)
            busy = [threads.submit(ask_on) for _ in range(4)]
            try:
                first.process.kill()
                first.process.wait()
                ask_until(is_stale=True, value=_FRESH)
                with redis_server(port=first.port) as second:
                    fill(second.url, account(), _now(), {1: (20, 1)})
                    ask_until(is_stale=False, value=121)
                    ended.set()
                    for each in busy:
                        each.result()
            finally:
                ended.set()
            _, _, metrics = server.ask("GET", "/metrics", listener="metrics")
    (told,) = (line for line in metrics.decode().splitlines() if line.startswith("falaj_stale_features"))
    assert float(told.split()[-1]) == sum(answers) > 0


def test_cached_values_serve_no_longer_than_they_may(tmp_path: Path, proxy: FaultProxy) -> None:
    staleness = 2.0
    with _serving(tmp_path, proxy, max_staleness_ms=staleness * 1000) as server:
        before = time.monotonic()
        assert _ask_until_fresh(server, 1) == [_FRESH]
        after = time.monotonic()
        FAULTS["silent"](proxy)
        while True:
            begin = time.monotonic()
            _, answer = _ask(server, 1)
            assert _is_stale(answer)
            if _values(answer) == [_DEFAULT]:
                assert time.monotonic() - before > staleness
                return
            assert _values(answer) == [_FRESH]
            assert begin - after <= staleness


@pytest.mark.parametrize("fault", FAULTS)
def test_requests_are_refused_when_nothing_is_known_and_the_view_rejects(
    tmp_path: Path, proxy: FaultProxy, fault: str
) -> None:
    with _serving(tmp_path, proxy, "reject", max_staleness_ms=600_000) as server:
        assert _ask_until_fresh(server, 1) == [_FRESH]
        FAULTS[fault](proxy)
        for _ in range(3):
            status, answer = _ask(server, 5)
            assert status in (503, 504)
            assert "online store" in answer["error"]
            with pytest.raises(InferenceServerException) as refused:
                _ask_by_grpc(server, 5)
            assert refused.value.status() in ("StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED")
            status, answer = _ask(server, 1)
            assert (status, _values(answer), _is_stale(answer)) == (200, [_FRESH], True)
        proxy.forwards()
        assert _ask_until_fresh(server, 5) == [157.5]


def test_models_on_a_shared_store_do_not_run_on_the_thread_that_asks(
    tmp_path: Path, redis: RedisServer
) -> None:
    fill(tmp_path / "online", account(), _now())
    folder = tmp_path / "models" / "score" / "1"
    folder.mkdir(parents=True)
    (folder.parent / "model.toml").write_text("tune_ms = 0\n")
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]>
        score (float[rows, 2] x) => (float[rows, 1] y) <float[2, 1] ones = {1.0, 1.0}>
        { y = MatMul(x, ones) }"""
    )
    onnx.save(model, folder / "model.onnx")
    write_binding(folder, bind_all([BoundView(account())], "x"))
    for store, runs_here in ((f"lmdb://{tmp_path / 'online'}", True), (redis.url, False)):
        with falaj.Engine(tmp_path / "models", cores=1, strict=True, features=store) as engine:
            for _ in range(5):
                assert engine.infer("score", {"customer_id": np.array([[1]])})["y"].item() == 11
            assert (engine.stats("score")[0]["batches_on_submitter"] > 0) == runs_here

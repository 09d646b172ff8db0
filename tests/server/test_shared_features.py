"""Models that look features up in a shared store, which may be slow or away."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import falaj
from falaj.features.binding import BoundView, OnMissing, bind_all, write_binding
from tests import zoo
from tests.features.online.fault_proxy import FaultProxy, fault_proxy
from tests.features.online.redis_server import redis_server
from tests.server.joined_model import account, add_joined, fill
from tests.serving import add_model

_STATUSES = ["y", "account__status"]


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    with redis_server() as server, fault_proxy(server.port) as proxy:
        fill(server.url, account(), time.time_ns() // 1000)
        yield proxy


def _engine(folder: Path, proxy: FaultProxy, on_missing: OnMissing = "default") -> falaj.Engine:
    add_joined(folder / "models", account(), on_missing)
    url = f"redis://127.0.0.1:{proxy.port}/?timeout_ms=250"
    return falaj.Engine(folder / "models", cores=1, strict=True, features=url)


def _asked(*keys: int) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    return {
        "customer_id": np.array(keys, np.int64).reshape(-1, 1),
        "amount": np.full((len(keys), 1), 100, np.float32),
    }


def _ask_until_fresh(engine: falaj.Engine) -> None:
    end = time.monotonic() + 20
    while True:
        answer = engine.infer("score", _asked(1, 2, 9), outputs=_STATUSES)
        if answer["account__status"].ravel().tolist() == [b"present", b"present", b"missing"]:
            assert answer["y"].ravel().tolist() == [111, 101, 106]
            return
        assert time.monotonic() < end


def test_requests_are_answered_from_redis(tmp_path: Path, proxy: FaultProxy) -> None:
    with _engine(tmp_path, proxy) as engine:
        _ask_until_fresh(engine)


def test_defaults_serve_in_time_when_the_store_does_not_answer(tmp_path: Path, proxy: FaultProxy) -> None:
    with _engine(tmp_path, proxy) as engine:
        _ask_until_fresh(engine)
        for fault in (lambda answer: [b""], lambda answer: []):
            proxy.does(fault)
            begin = time.monotonic()
            for _ in range(20):
                answer = engine.infer("score", _asked(1, 2, 9), outputs=_STATUSES)
                assert answer["account__status"].ravel().tolist() == [b"stale"] * 3
                assert answer["y"].ravel().tolist() == [106, 106, 106]
            assert time.monotonic() - begin < 10  # most fail at once: it is not asked each time
            proxy.forwards()
            _ask_until_fresh(engine)


def test_requests_are_refused_in_time_when_the_view_rejects(tmp_path: Path, proxy: FaultProxy) -> None:
    with _engine(tmp_path, proxy, "reject") as engine:
        proxy.does(lambda answer: [b""])
        with pytest.raises((falaj.DeadlineExceeded, falaj.Unavailable), match="online store"):
            engine.infer("score", _asked(1))


def test_no_thread_that_came_to_ask_waits_for_a_shared_store(tmp_path: Path, proxy: FaultProxy) -> None:
    fill(f"lmdb://{tmp_path / 'online'}", account(), time.time_ns() // 1000)
    folder = add_model(tmp_path / "models", zoo.mlp((2, 2)))
    write_binding(folder, bind_all([BoundView(account())], "x"))
    here = {}
    for url in (f"redis://127.0.0.1:{proxy.port}", f"lmdb://{tmp_path / 'online'}"):
        with falaj.Engine(tmp_path / "models", cores=1, strict=True, features=url) as engine:
            proxy.does(lambda answer: [b""])  # what fails at once looks like short work
            for _ in range(200):
                engine.infer("mlp", {"customer_id": np.array([[1]])})
            here[url[:5]] = engine.stats("mlp")[0]["batches_on_submitter"]
    assert here["lmdb:"] > 0
    assert here["redis"] == 0

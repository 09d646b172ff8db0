"""Requests that wait for a model: a full queue, deadlines, priorities, clients that leave.

`slow` and `ranked` run one request at a time, for as many rounds as it says.
"""

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

import grpc
import numpy as np
import pytest

from tests.conformance.exchange import Answer, Http
from tests.conformance.grpc_requests import failure_of, parameter, raw_request
from tests.conformance.metrics_page import Page, until
from tests.conformance.target import Target
from tests.conformance.tensors import in_json

T = TypeVar("T")
Rounds = Callable[[float], int]
FAST = 1  # rounds


def of_rounds(rounds: int, **parameters: int) -> dict[str, Any]:
    """A request that takes so many rounds."""
    return {"inputs": [in_json("n", "INT64", np.array([[rounds]]))], "parameters": parameters}


def by_grpc(model: str, rounds: int, **parameters: int) -> Any:
    """The same by gRPC."""
    given = {key: parameter(value) for key, value in parameters.items()}
    return raw_request(model, ("n", "INT64", np.array([[rounds]])), parameters=given)


@pytest.fixture(scope="session")
def rounds_of(native: Http) -> Rounds:
    """How many rounds take so many seconds on this machine, about."""
    per_second = rounds_per_second(native)
    return lambda seconds: int(seconds * per_second)


def rounds_per_second(http: Http) -> float:
    """Of the model `ranked`, when it has a core for itself."""
    tried, took = 20_000, []
    for _ in range(3):
        began = time.perf_counter()
        assert http.infer("ranked", of_rounds(tried)).status == 200
        took.append(time.perf_counter() - began)
    return tried / min(took)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Threads for requests that are under way together."""
    with ThreadPoolExecutor(16) as made:
        yield made


def test_requests_are_503_when_the_queue_is_full(
    native: Http, rounds_of: Rounds, pool: ThreadPoolExecutor
) -> None:
    """queue full: 503 with Retry-After, at once; what was accepted is answered."""
    request = of_rounds(rounds_of(0.3))
    answers = [*pool.map(lambda _: native.infer("slow", request), range(8))]
    refused = [answer for answer in answers if answer.status != 200]
    assert 1 <= len(refused) < len(answers)
    for answer in refused:
        assert answer.error(503)
        assert answer.header("retry-after")


def test_calls_are_unavailable_when_the_queue_is_full(stub: Any, rounds_of: Rounds) -> None:
    """queue full: UNAVAILABLE."""
    request = by_grpc("slow", rounds_of(0.3))
    calls = [stub.ModelInfer.future(request, timeout=60) for _ in range(8)]
    codes = [call.code() for call in calls]
    assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}


def test_request_is_504_when_its_timeout_passed_in_the_queue(
    native: Http, rounds_of: Rounds, pool: ThreadPoolExecutor
) -> None:
    """deadline passed: 504; timeout is in microseconds."""
    busy = [pool.submit(native.infer, "ranked", of_rounds(rounds_of(0.4))) for _ in range(3)]
    late = first_late(busy, lambda: native.infer("ranked", of_rounds(FAST, timeout=2000)))
    assert late.error(504)
    assert [one.result().status for one in busy] == [200] * 3


def first_late(busy: list[Future[Answer]], ask: Callable[[], Answer]) -> Answer:
    """The first answer that is no success, while the model is busy. Before it is, a short run may succeed."""
    while not all(one.done() for one in busy):
        answer = ask()
        if answer.status != 200:
            return answer
    raise AssertionError("no request was late while the model was busy")


def test_request_is_answered_when_its_timeout_is_longer_than_the_queue(
    native: Http, rounds_of: Rounds, pool: ThreadPoolExecutor
) -> None:
    """timeout: µs, not ms: one that is far above the wait changes nothing."""
    busy = [pool.submit(native.infer, "ranked", of_rounds(rounds_of(0.1))) for _ in range(3)]
    assert native.infer("ranked", of_rounds(FAST, timeout=60_000_000)).status == 200
    assert [one.result().status for one in busy] == [200] * 3


def test_call_is_deadline_exceeded_when_its_timeout_passed_in_the_queue(stub: Any, rounds_of: Rounds) -> None:
    """deadline passed: DEADLINE_EXCEEDED, by the parameter `timeout` and by gRPC's own deadline."""
    busy = [stub.ModelInfer.future(by_grpc("ranked", rounds_of(0.4)), timeout=60) for _ in range(3)]
    codes = set()
    while not codes and not all(call.done() for call in busy):
        try:
            stub.ModelInfer(by_grpc("ranked", FAST, timeout=2000), timeout=60)
        except grpc.RpcError as error:
            codes.add(error.code())
    assert codes == {grpc.StatusCode.DEADLINE_EXCEEDED}
    assert [call.code() for call in busy] == [grpc.StatusCode.OK] * 3


def test_call_is_deadline_exceeded_when_grpcs_deadline_passed(stub: Any, rounds_of: Rounds) -> None:
    """gRPC's own deadline: the call ends, and the next is answered."""
    failure = failure_of(stub.ModelInfer, by_grpc("ranked", rounds_of(0.5)), timeout=0.05)
    assert failure.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    stub.ModelInfer(by_grpc("ranked", FAST), timeout=60)


@pytest.mark.metrics
def test_request_passes_others_when_its_priority_is_higher(
    native: Http, target: Target, rounds_of: Rounds, pool: ThreadPoolExecutor
) -> None:
    """priority: 1 highest, 0 the model's default, which is 2 here."""
    order: list[str] = []
    lock = threading.Lock()

    def ask(name: str, rounds: int, priority: int) -> int:
        answer = native.infer("ranked", of_rounds(rounds, priority=priority))
        with lock:
            order.append(name)
        return answer.status

    asked = busy_model(target, lambda: pool.submit(ask, "long", rounds_of(1.5), 2))
    order.clear()  # both are under way
    asked.append(pool.submit(ask, "default", FAST, 0))
    until_waiting(target, 2)
    asked.append(pool.submit(ask, "low", FAST, 2))
    until_waiting(target, 3)
    asked.append(pool.submit(ask, "high", FAST, 1))
    assert [one.result() for one in asked] == [200] * 5
    # Its neighbours in time may be told of in another order by their threads.
    assert order.index("high") < min(order.index("default"), order.index("low"))


@pytest.mark.metrics
@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_request_is_withdrawn_when_its_client_leaves(
    native: Http, stub: Any, target: Target, rounds_of: Rounds, pool: ThreadPoolExecutor, transport: str
) -> None:
    """cancelled by the client: it is not run and counts as CANCELED; of three, the others are answered."""
    labels = {"model": "ranked", "version": "1", "reason": "CANCELED"}
    before = Page(target).value("nv_inference_request_failure", **labels)
    busy = busy_model(target, lambda: pool.submit(native.infer, "ranked", of_rounds(rounds_of(1.5))))
    if transport == "grpc":
        call = stub.ModelInfer.future(by_grpc("ranked", FAST), timeout=60)
        until_waiting(target, 2)
        call.cancel()
        assert call.code() is grpc.StatusCode.CANCELLED
    else:
        with leaving_client(
            target, "ranked", b'{"inputs":[{"name":"n","shape":[1,1],"datatype":"INT64","data":[1]}]}'
        ):
            until_waiting(target, 2)
    until_waiting(target, 1)
    assert Page(target).value("nv_inference_request_failure", **labels) == before + 1
    assert [one.result().status for one in busy] == [200] * 2


def leaving_client(target: Target, model: str, body: bytes) -> socket.socket:
    """A connection that has asked and will be closed."""
    host, _, port = target.http.rpartition(":")
    client = socket.create_connection((host, int(port)), timeout=60)
    head = f"POST /v2/models/{model}/infer HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    client.sendall(head.encode() + body)
    return client


def busy_model(target: Target, ask: Callable[[], Future[T]]) -> list[Future[T]]:
    """Two long requests, one of which runs while the other waits for `ranked`.

    A server may run one on the thread that reads, because the last ones were short; the other is not read
    before that has ended, and they are sent again.
    """
    for _ in range(10):
        asked = [ask(), ask()]
        until(lambda: waiting(target) == 1 or any(one.done() for one in asked), "a request waits")  # noqa: B023
        if not any(one.done() for one in asked):
            return asked
        wait(asked)
    raise AssertionError("the model is never busy")


def until_waiting(target: Target, count: int) -> None:
    """Wait until so many requests wait for `ranked`."""
    until(lambda: waiting(target) == count, f"{count} requests wait")


def waiting(target: Target) -> float:
    """How many requests wait for `ranked`. Parsing the whole page takes longer than what is waited for."""
    (found,) = re.findall(
        r'^nv_inference_pending_request_count{model="ranked".*} (.*)$', Page(target).text, re.M
    )
    return float(found)

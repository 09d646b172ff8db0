"""tritonclient's streams: by callback and asynchronous."""

import asyncio
import queue
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.grpc.aio
from tritonclient.utils import InferenceServerException

from tests.conformance.target import Target

_REQUESTS = 50
Told = tuple[Any, InferenceServerException | None]


def _input(value: float) -> Any:
    x = tritonclient.grpc.InferInput("x", [1, 2], "FP32")
    return x.set_data_from_numpy(np.full((1, 2), value, np.float32))


@pytest.fixture
def client(target: Target) -> Iterator[tritonclient.grpc.InferenceServerClient]:
    with tritonclient.grpc.InferenceServerClient(target.grpc) as client:
        yield client


def _started(client: tritonclient.grpc.InferenceServerClient, **more: Any) -> "queue.Queue[Told]":
    answers: queue.Queue[Told] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)), **more)
    return answers


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_every_request_is_answered_when_streamed_with_callbacks(
    client: tritonclient.grpc.InferenceServerClient, compression: str | None
) -> None:
    answers = _started(client, compression_algorithm=compression)
    for i in range(_REQUESTS):
        client.async_stream_infer("versions", [_input(i)], request_id=str(i))
    values = {}
    for _ in range(_REQUESTS):
        result, error = answers.get(timeout=60)
        assert error is None
        values[int(result.get_response().id)] = result.as_numpy("y").tolist()
    client.stop_stream()
    assert values == {i: [[3 * i, 3 * i]] for i in range(_REQUESTS)}


def test_error_stays_in_band_when_a_streamed_request_is_bad(
    client: tritonclient.grpc.InferenceServerClient,
) -> None:
    answers = _started(client)
    client.async_stream_infer("nowhere", [_input(1)], request_id="bad")
    result, error = answers.get(timeout=60)
    assert result is None
    assert error is not None
    assert "nowhere" in str(error)
    client.async_stream_infer("versions", [_input(1)], request_id="good")
    result, error = answers.get(timeout=60)
    assert error is None
    assert result.get_response().id == "good"
    client.stop_stream()


def test_client_goes_on_when_a_stream_is_cancelled(client: tritonclient.grpc.InferenceServerClient) -> None:
    answers = _started(client)
    client.async_stream_infer("versions", [_input(1)])
    assert answers.get(timeout=60)[1] is None
    client.stop_stream(cancel_requests=True)
    assert client.infer("versions", [_input(1)]).as_numpy("y").tolist() == [[3, 3]]


def test_every_request_is_answered_when_streamed_asynchronously(target: Target) -> None:
    async def requests() -> AsyncIterator[dict[str, Any]]:
        for i in range(_REQUESTS):
            name = "nowhere" if i == 10 else "versions"
            yield {"model_name": name, "inputs": [_input(i)], "request_id": str(i)}

    async def ask() -> list[Told]:
        async with tritonclient.grpc.aio.InferenceServerClient(target.grpc) as client:
            return [told async for told in client.stream_infer(requests(), stream_timeout=60)]

    told = asyncio.run(ask())
    assert len(told) == _REQUESTS
    failures = [str(error) for _, error in told if error is not None]
    assert len(failures) == 1
    assert "nowhere" in failures[0]
    values = {
        int(result.get_response().id): result.as_numpy("y")[0, 0] for result, error in told if not error
    }
    assert values == {i: 3 * i for i in range(_REQUESTS) if i != 10}

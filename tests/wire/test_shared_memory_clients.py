"""Triton's own clients and their utilities of shared memory: HTTP and gRPC, blocking, asyncio and streams."""

import asyncio
import os
import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.grpc.aio as triton_grpc_aio
import tritonclient.http as triton_http
import tritonclient.http.aio as triton_http_aio
import tritonclient.utils.shared_memory as shm
from tritonclient.utils import InferenceServerException, serialize_byte_tensor

from tests.server.serving_process import Serving
from tests.wire.shared_file import PREFIX
from tests.wire.sharing import FLAGS, add_models

pytestmark = pytest.mark.core

A = np.array([[1, 2, 3]], np.float32)
B = np.array([[10, 20, 30]], np.float32)
ROOM = 4096
_KEY = f"/{PREFIX}{os.getpid()}_client"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("clients")
    add_models(folder / "models")
    with Serving(folder, *FLAGS) as server:
        yield server
        assert {event["level"] for event in server.events()} <= {"info"}


@pytest.fixture
def region() -> Iterator[Any]:
    handle = shm.create_shared_memory_region("region", _KEY, ROOM)
    yield handle
    shm.destroy_shared_memory_region(handle)


def _fill(region: Any) -> None:
    shm.set_shared_memory_region(region, [A, B])
    shm.set_shared_memory_region(region, [np.zeros(100, np.uint8)], offset=100)


def _tensors(library: Any) -> tuple[list[Any], list[Any]]:
    inputs = []
    for offset, name in enumerate("ab"):
        tensor = library.InferInput(name, [1, 3], "FP32")
        tensor.set_shared_memory("region", 12, offset=12 * offset)
        inputs.append(tensor)
    y, joined = library.InferRequestedOutput("y"), library.InferRequestedOutput("joined")
    y.set_shared_memory("region", 12, offset=100)
    return inputs, [y, joined]


def _check(region: Any, result: Any) -> None:
    np.testing.assert_array_equal(shm.get_contents_as_numpy(region, np.float32, [1, 3], offset=100), A + B)
    np.testing.assert_array_equal(result.as_numpy("joined"), np.hstack([A, B]))  # found by its position
    output = result.get_output("y")
    shape = output["shape"] if isinstance(output, dict) else list(output.shape)
    assert shape == [1, 3]


_EXPECTED = {"name": "region", "key": _KEY, "byte_size": ROOM, "offset": 0}


def test_http_client_is_answered_when_it_shares(server: Serving, region: Any) -> None:
    with triton_http.InferenceServerClient(f"127.0.0.1:{server.ready['http']}") as client:
        assert "system_shared_memory" in client.get_server_metadata()["extensions"]
        client.unregister_system_shared_memory()
        assert client.get_system_shared_memory_status() == []
        client.register_system_shared_memory("region", _KEY, ROOM)
        assert client.get_system_shared_memory_status("region") == [_EXPECTED]
        _fill(region)
        inputs, outputs = _tensors(triton_http)
        _check(region, client.infer("elementwise_fp32", inputs, outputs=outputs))
        _fill(region)
        _check(region, client.async_infer("elementwise_fp32", inputs, outputs=outputs).get_result())
        with pytest.raises(InferenceServerException, match="already in manager"):
            client.register_system_shared_memory("region", _KEY, ROOM)
        client.unregister_system_shared_memory("region")
        client.unregister_system_shared_memory("region")  # as Triton, which finds nothing wrong with it
        with pytest.raises(InferenceServerException, match="Unable to find system shared memory region"):
            client.get_system_shared_memory_status("region")
        with pytest.raises(InferenceServerException, match="Unable to find shared memory region: 'region'"):
            client.infer("elementwise_fp32", inputs, outputs=outputs)
        for call in (client.get_cuda_shared_memory_status, client.unregister_cuda_shared_memory):
            with pytest.raises(InferenceServerException, match="CUDA shared memory is not served"):
                call()


def test_http_aio_client_is_answered_when_it_shares(server: Serving, region: Any) -> None:
    async def run() -> None:
        async with triton_http_aio.InferenceServerClient(f"127.0.0.1:{server.ready['http']}") as client:
            await client.register_system_shared_memory("region", _KEY, ROOM)
            assert await client.get_system_shared_memory_status() == [_EXPECTED]
            _fill(region)
            inputs, outputs = _tensors(triton_http_aio)
            _check(region, await client.infer("elementwise_fp32", inputs, outputs=outputs))
            await client.unregister_system_shared_memory()

    asyncio.run(run())


def test_grpc_client_is_answered_when_it_shares(server: Serving, region: Any) -> None:
    with triton_grpc.InferenceServerClient(f"127.0.0.1:{server.ready['grpc']}") as client:
        client.register_system_shared_memory("region", _KEY, ROOM - 8, offset=8)
        (told,) = client.get_system_shared_memory_status("region").regions.values()
        assert (told.name, told.key, told.offset, told.byte_size) == ("region", _KEY, 8, ROOM - 8)
        client.unregister_system_shared_memory("region")
        client.register_system_shared_memory("region", _KEY, ROOM)
        assert list(client.get_system_shared_memory_status().regions) == ["region"]
        inputs, outputs = _tensors(triton_grpc)
        for _ in range(2):
            _fill(region)
            result = client.infer("elementwise_fp32", inputs, outputs=outputs)
            _check(region, result)
        parameters = result.get_output("y").parameters
        assert {key: parameters[key].WhichOneof("parameter_choice") for key in parameters} == {
            "shared_memory_region": "string_param",
            "shared_memory_offset": "int64_param",
            "shared_memory_byte_size": "int64_param",
        }
        assert parameters["shared_memory_byte_size"].int64_param == 12
        inputs[0].set_data_from_numpy(A)  # one in the message beside one that is not
        _fill(region)
        _check(region, client.infer("elementwise_fp32", inputs, outputs=outputs))
        with pytest.raises(InferenceServerException, match="already in manager"):
            client.register_system_shared_memory("region", _KEY, ROOM)
        client.unregister_system_shared_memory()
        with pytest.raises(InferenceServerException) as raised:
            client.get_system_shared_memory_status("region")
        assert raised.value.status() == "StatusCode.INVALID_ARGUMENT"
        with pytest.raises(InferenceServerException, match="CUDA shared memory is not served") as raised:
            client.get_cuda_shared_memory_status()
        assert raised.value.status() == "StatusCode.UNIMPLEMENTED"


def test_grpc_aio_client_is_answered_when_it_shares(server: Serving, region: Any) -> None:
    async def run() -> None:
        async with triton_grpc_aio.InferenceServerClient(f"127.0.0.1:{server.ready['grpc']}") as client:
            await client.register_system_shared_memory("region", _KEY, ROOM)
            _fill(region)
            inputs, outputs = _tensors(triton_grpc_aio)
            _check(region, await client.infer("elementwise_fp32", inputs, outputs=outputs))
            await client.unregister_system_shared_memory()

    asyncio.run(run())


def test_streaming_client_is_answered_when_it_shares(server: Serving, region: Any) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    with triton_grpc.InferenceServerClient(f"127.0.0.1:{server.ready['grpc']}") as client:
        client.register_system_shared_memory("region", _KEY, ROOM)
        client.start_stream(lambda result, error: answers.put((result, error)))
        inputs, outputs = _tensors(triton_grpc)
        for number in range(3):
            _fill(region)
            client.async_stream_infer("elementwise_fp32", inputs, outputs=outputs, request_id=str(number))
            result, error = answers.get(timeout=60)
            assert error is None
            _check(region, result)
        client.unregister_system_shared_memory()
        client.async_stream_infer("elementwise_fp32", inputs, outputs=outputs)
        result, error = answers.get(timeout=60)
        assert "Unable to find shared memory region" in str(error)
        client.stop_stream()


def test_strings_are_answered_when_a_client_shares_them(server: Serving, region: Any) -> None:
    texts = np.array([["falaj", "", "水路"]], np.object_)
    form = serialize_byte_tensor(texts)
    size = len(form.item())
    with triton_http.InferenceServerClient(f"127.0.0.1:{server.ready['http']}") as client:
        client.register_system_shared_memory("region", _KEY, ROOM)
        shm.set_shared_memory_region(region, [form])
        text = triton_http.InferInput("text", [1, 3], "BYTES")
        text.set_shared_memory("region", size)
        same = triton_http.InferRequestedOutput("same")
        same.set_shared_memory("region", ROOM - 1000, offset=1000)
        client.infer("tokens", [text], outputs=[same])
        got = shm.get_contents_as_numpy(region, np.object_, [1, 3], offset=1000)
        assert [item.decode() for item in got[0]] == texts[0].tolist()
        client.unregister_system_shared_memory()


def test_extension_is_reported_by_name_only_when_it_is_allowed(tmp_path: Path) -> None:
    add_models(tmp_path / "models")
    with (
        Serving(tmp_path, "--compat", "triton") as server,
        triton_grpc.InferenceServerClient(f"127.0.0.1:{server.ready['grpc']}") as client,
    ):
        assert "system_shared_memory" not in client.get_server_metadata().extensions
        with pytest.raises(InferenceServerException, match="--allow-shared-memory") as raised:
            client.register_system_shared_memory("region", _KEY, ROOM)
        assert raised.value.status() == "StatusCode.UNIMPLEMENTED"
        with pytest.raises(InferenceServerException, match="--allow-shared-memory") as raised:
            client.infer("elementwise_fp32", _tensors(triton_grpc)[0])
        assert raised.value.status() == "StatusCode.UNIMPLEMENTED"

"""Tensors in system shared memory, in and out, by requests as clients write them."""

import gzip
import http.client
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.server.serving_process import Serving, until
from tests.serving import add_python
from tests.wire.conftest import GATED
from tests.wire.shared_file import SharedFile, infer, place, register, tensor, unregister
from tests.wire.sharing import FLAGS, WIDE, add_models, wide

pytestmark = pytest.mark.core

A = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
B = np.array([[10, 20, 30], [40, 50, 60]], np.float32)
ROOM = 4096


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Serving]:
    add_models(folder / "models")
    add_python(folder / "models", "gated", GATED)
    with Serving(folder, *FLAGS) as server:
        yield server
        assert server.is_ready()
        assert {event["level"] for event in server.events()} <= {"info"}


@pytest.fixture
def gate(folder: Path) -> Iterator[Path]:
    path = folder / "models" / "gated" / "1" / "gate"
    yield path
    path.touch()
    path.unlink()


@pytest.fixture
def file(server: Serving) -> Iterator[SharedFile]:
    """A file of ROOM bytes, registered as `r`."""
    with SharedFile(ROOM) as file:
        assert register(server, "r", file.key, ROOM) == (200, "")
        yield file
        unregister(server)


def _sum(a: dict[str, Any], b: dict[str, Any], *outputs: dict[str, Any]) -> dict[str, Any]:
    return {"inputs": [a, b], "outputs": list(outputs)}


def _in_body(name: str, array: np.ndarray) -> dict[str, Any]:
    return {"name": name, "datatype": "FP32", "shape": list(array.shape), "data": array.ravel().tolist()}


def test_answer_is_written_to_shared_memory_when_it_is_wanted_there(
    server: Serving, file: SharedFile
) -> None:
    file.put(A)
    file.put(B, 24)
    request = _sum(
        tensor("a", "FP32", (2, 3), place("r", 24)),
        tensor("b", "FP32", (2, 3), place("r", 24, 24)),
        {"name": "y", "parameters": place("r", 24, 64)},
        {"name": "joined", "parameters": place("r", 100, 128)},
    )
    status, answer = infer(server, "elementwise_fp32", request)
    assert status == 200, answer
    assert answer["outputs"] == [
        {"name": "y", "datatype": "FP32", "shape": [2, 3], "parameters": place("r", 24, 64)},
        {"name": "joined", "datatype": "FP32", "shape": [2, 6], "parameters": place("r", 48, 128)},
    ]
    np.testing.assert_array_equal(file.array(np.float32, (2, 3), 64), A + B)
    np.testing.assert_array_equal(file.array(np.float32, (2, 6), 128), np.hstack([A, B]))
    assert file.raw(52, 176) == bytes(52)  # of the place that was larger than the answer


def test_tensors_come_and_go_both_ways_when_only_some_are_shared(server: Serving, file: SharedFile) -> None:
    file.put(B, 8)
    request = _sum(
        _in_body("a", A),
        tensor("b", "FP32", (2, 3), place("r", 24, 8)),
        {"name": "joined", "parameters": {"binary_data": False}},
        {"name": "y", "parameters": {"binary_data": True, **place("r", 24, 64)}},
    )
    status, answer = infer(server, "elementwise_fp32", request)
    assert status == 200, answer
    joined, y = answer["outputs"]
    assert joined["data"] == np.hstack([A, B]).ravel().tolist()
    assert "data" not in y
    np.testing.assert_array_equal(file.array(np.float32, (2, 3), 64), A + B)


def test_binary_tensors_go_beside_shared_ones_when_the_body_is_compressed(
    server: Serving, file: SharedFile
) -> None:
    file.put(B)
    a = {"name": "a", "datatype": "FP32", "shape": [2, 3], "parameters": {"binary_data_size": 24}}
    request = _sum(
        tensor("b", "FP32", (2, 3), place("r", 24)), a, {"name": "y", "parameters": place("r", 24)}
    )
    head = json.dumps(request).encode()
    connection = http.client.HTTPConnection("127.0.0.1", server.ready["http"], timeout=60)
    fields = {"Inference-Header-Content-Length": str(len(head)), "Content-Encoding": "gzip"}
    connection.request("POST", "/v2/models/elementwise_fp32/infer", gzip.compress(head + A.tobytes()), fields)
    response = connection.getresponse()
    assert (response.status, response.getheader("Inference-Header-Content-Length")) == (200, None)
    assert "data" not in json.loads(response.read())["outputs"][0]
    connection.close()
    np.testing.assert_array_equal(file.array(np.float32, (2, 3)), A + B)


@pytest.mark.parametrize("rows", [1, 2, 8, 9])
@pytest.mark.parametrize("shift", [0, 2, 64])
def test_large_tensors_are_answered_when_they_lie_anywhere(server: Serving, rows: int, shift: int) -> None:
    x = wide(rows)
    size = x.nbytes
    with SharedFile(2 * size + 2 * ROOM) as file:
        register(server, "big", file.key, 2 * size + ROOM, ROOM)
        file.put(x, ROOM + shift)
        request = {
            "inputs": [tensor("x", "FP32", x.shape, place("big", size, shift))],
            "outputs": [
                {"name": "y", "parameters": place("big", size, size + 2 * shift)},
                {"name": "top", "parameters": place("big", 8 * rows, 2 * size + 2 * shift)},
            ],
        }
        status, answer = infer(server, "large", request)
        unregister(server, "big")
        if rows > 8:
            assert (status, "at most 8 rows" in answer["error"]) == (400, True)
            return
        assert status == 200, answer
        np.testing.assert_array_equal(file.array(np.float32, x.shape, ROOM + size + 2 * shift), -x)
        top = file.array(np.int64, (rows, 1), ROOM + 2 * size + 2 * shift)
        np.testing.assert_array_equal(top[:, 0], x.argmax(1))


def test_each_gets_its_own_when_many_meet_in_batches(server: Serving) -> None:
    size = WIDE * 4
    with SharedFile(16 * size) as file:
        register(server, "many", file.key, 16 * size)

        def ask(slot: int) -> None:
            for turn in range(15):
                x = wide(1, 100 * slot + turn)
                file.put(x, 2 * slot * size)
                request = {
                    "inputs": [tensor("x", "FP32", x.shape, place("many", size, 2 * slot * size))],
                    "outputs": [
                        {"name": "y", "parameters": place("many", size, (2 * slot + 1) * size)},
                        {"name": "top"},
                    ],
                }
                status, answer = infer(server, "large", request)
                assert status == 200, answer
                got = file.array(np.float32, x.shape, (2 * slot + 1) * size)
                np.testing.assert_array_equal(got, -x)
                assert answer["outputs"][1]["data"] == [int(x.argmax())]

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(ask, range(8)))
        unregister(server, "many")


def test_answer_is_that_of_the_input_when_it_is_wanted_over_it(server: Serving) -> None:
    x = wide(1)
    with SharedFile(x.nbytes + ROOM) as file:
        register(server, "one", file.key, x.nbytes + ROOM)
        file.put(x, 64)
        request = {
            "inputs": [tensor("x", "FP32", x.shape, place("one", x.nbytes, 64))],
            "outputs": [{"name": "y", "parameters": place("one", x.nbytes, 68)}],
        }
        assert infer(server, "large", request)[0] == 200
        unregister(server, "one")
        np.testing.assert_array_equal(file.array(np.float32, x.shape, 68), -x)


def test_types_that_are_checked_are_answered_when_they_are_shared(server: Serving, file: SharedFile) -> None:
    for datatype, dtype, joined in (("BOOL", np.bool_, 6), ("INT64", np.int64, 48)):
        a, b = np.array([[1, 0, 1]], dtype), np.array([[1, 1, 0]], dtype)
        file.put(a)
        file.put(b, 1000)
        request = _sum(
            tensor("a", datatype, (1, 3), place("r", a.nbytes)),
            tensor("b", datatype, (1, 3), place("r", b.nbytes, 1000)),
            {"name": "y", "parameters": place("r", a.nbytes, 2000)},
            {"name": "joined", "parameters": place("r", joined, 3000)},
        )
        status, answer = infer(server, f"elementwise_{datatype.lower()}", request)
        assert status == 200, answer
        wanted = a ^ b if datatype == "BOOL" else a + b
        np.testing.assert_array_equal(file.array(dtype, (1, 3), 2000), wanted)
        np.testing.assert_array_equal(file.array(dtype, (1, 6), 3000), np.hstack([a, b]))


def test_bool_is_refused_when_it_is_neither(server: Serving, file: SharedFile) -> None:
    file.put(bytes([0, 1, 2]))
    a, b = (tensor(name, "BOOL", (1, 3), place("r", 3)) for name in "ab")
    status, answer = infer(server, "elementwise_bool", _sum(a, b))
    assert (status, "expected 0 or 1, got 2" in answer["error"]) == (400, True)


def _strings(*texts: bytes) -> bytes:
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)


def test_strings_are_answered_when_they_are_shared(server: Serving, file: SharedFile) -> None:
    texts = ["falaj", "", "فلج"]
    size = file.put(_strings(*(text.encode() for text in texts)), 16)
    text = tensor("text", "BYTES", (1, 3), place("r", size, 16))
    outputs = [{"name": "same"}, {"name": "twice", "parameters": place("r", 3000, 1000)}]
    status, answer = infer(server, "tokens", {"inputs": [text], "outputs": outputs})
    assert status == 200, answer
    assert answer["outputs"][0]["data"] == texts
    wanted = _strings(*(text.encode() for text in texts)) * 2
    assert answer["outputs"][1]["parameters"] == place("r", len(wanted), 1000)
    assert file.raw(len(wanted) + 4, 1000) == wanted + bytes(4)
    file.put(b"\xff\xff\xff\xff", 16)
    status, answer = infer(server, "tokens", {"inputs": [text]})
    assert (status, "4294967295 bytes" in answer["error"]) == (400, True)


def test_tensors_without_elements_are_answered_when_they_are_shared(
    server: Serving, file: SharedFile
) -> None:
    a, b = (tensor(name, "FP32", (0, 3), place("r", 0, ROOM)) for name in "ab")
    status, answer = infer(server, "elementwise_fp32", _sum(a, b, {"name": "y", "parameters": place("r", 0)}))
    assert status == 200, answer
    assert answer["outputs"][0] == {
        "name": "y", "datatype": "FP32", "shape": [0, 3], "parameters": place("r", 0, 0),
    }  # fmt: skip


def test_classes_are_written_when_they_are_wanted_there(server: Serving, file: SharedFile) -> None:
    request = _sum(
        _in_body("a", A),
        _in_body("b", B),
        {"name": "y", "parameters": {"classification": 1, **place("r", 99)}},
    )
    status, answer = infer(server, "elementwise_fp32", request)
    assert status == 200, answer
    assert (answer["outputs"][0]["datatype"], answer["outputs"][0]["shape"]) == ("BYTES", [2, 1])
    assert file.raw(22) == _strings(b"33:2", b"66:2") + bytes(6)


def test_model_without_a_batch_is_answered_when_its_tensors_are_shared(
    server: Serving, file: SharedFile
) -> None:
    file.put(A[0])
    request = {
        "inputs": [tensor("x", "FP32", (3,), place("r", 12))],
        "outputs": [{"name": "y", "parameters": place("r", 12, 12)}],
    }
    assert infer(server, "no_batch", request)[0] == 200
    np.testing.assert_array_equal(file.array(np.float32, (3,), 12), 2 * A[0])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_place_is_used_exactly_when_it_is_in_the_region(
    server: Serving, file: SharedFile, data: st.DataObject
) -> None:
    near = st.integers(0, ROOM + 40) | st.integers(ROOM - 30, ROOM + 2) | st.sampled_from([2**31, 2**63 - 1])
    at, wanted_at = data.draw(near), data.draw(near)
    size = data.draw(st.just(24) | st.integers(0, 60) | st.sampled_from([2**40, 2**63 - 1]))
    room = data.draw(st.just(24) | st.integers(0, 60) | st.sampled_from([2**40, 2**63 - 1]))
    file.put(bytes(ROOM))
    if at + 24 <= ROOM:
        file.put(A, at)
    before = file.raw(ROOM)
    request = _sum(
        tensor("a", "FP32", (2, 3), place("r", size, at)),
        _in_body("b", B),
        {"name": "y", "parameters": place("r", room, wanted_at)},
    )
    status, answer = infer(server, "elementwise_fp32", request)
    fits = size == 24 and at + 24 <= ROOM and room >= 24 and wanted_at + room <= ROOM
    assert status == (200 if fits else 400), answer
    after = file.raw(ROOM + 100)
    if fits:
        wanted = before[:wanted_at] + (A + B).tobytes() + before[wanted_at + 24 :]
        assert after == wanted
    else:
        assert after == before
        assert "shared memory" in answer["error"] or "shared_memory" in answer["error"]


def _gated(file: SharedFile, **parameters: Any) -> dict[str, Any]:
    file.put(np.array([7], np.float32))
    return {
        "inputs": [tensor("x", "FP32", (1, 1), place("r", 4))],
        "outputs": [{"name": "y", "parameters": place("r", 4, 8)}],
        "parameters": parameters,
    }


def _running(server: Serving) -> bool:
    page = server.ask("GET", "/metrics", listener="metrics")[2].decode()
    return "falaj_requests_in_flight 1.0" in page


def test_answer_goes_to_the_old_file_when_its_name_is_registered_anew(
    server: Serving, file: SharedFile, gate: Path
) -> None:
    with SharedFile(ROOM) as other, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(infer, server, "gated", _gated(file))
        until(lambda: _running(server), "the request is under way")
        unregister(server, "r")
        assert register(server, "r", other.key, ROOM) == (200, "")
        gate.touch()
        assert asked.result(60)[0] == 200
        assert file.array(np.float32, (1,), 8) == [7]
        assert other.raw(ROOM) == bytes(ROOM)


def test_server_goes_on_when_a_client_leaves_and_takes_its_file_along(
    server: Serving, file: SharedFile, gate: Path
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.ready["http"], timeout=60)
    connection.request("POST", "/v2/models/gated/infer", json.dumps(_gated(file)))
    until(lambda: _running(server), "the request is under way")
    connection.close()
    unregister(server, "r")
    until(lambda: not _running(server), "the request was withdrawn")
    file.cut(0)
    gate.touch()
    until(lambda: server.infer("gated")[0] == 200, "its batch has ended")
    file.cut(ROOM)
    assert register(server, "r", file.key, ROOM) == (200, "")


def test_deadline_is_told_when_the_batch_runs_on(server: Serving, file: SharedFile, gate: Path) -> None:
    status, answer = infer(server, "gated", _gated(file, timeout=50_000))
    assert (status, "deadline" in answer["error"]) == (504, True)
    unregister(server, "r")
    gate.touch()
    until(lambda: server.infer("gated")[0] == 200, "its batch has ended")
    assert register(server, "r", file.key, ROOM) == (200, "")

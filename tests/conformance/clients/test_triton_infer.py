"""tritonclient's infer: HTTP and gRPC, both also asynchronous."""

from concurrent.futures import Future
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

from tests.conformance.clients.triton import TritonClient, statuses_of
from tests.conformance.repository import AWKWARD_NAME, CLASSES, FEATURES, IDENTITY, LABELS
from tests.conformance.target import Target
from tests.conformance.tensors import assert_equal
from tests.zoo import DATATYPES, random_array

_LARGE = (64 << 20) // 4  # elements of FP32 that are 64 MiB


def drawn(datatype: str, shape: tuple[int, ...]) -> np.ndarray:
    return random_array(np.random.default_rng(7), datatype, shape)


@pytest.mark.parametrize("shape", [(3, 5), (1, 1), (0, 5)], ids=["rows", "one", "none"])
@pytest.mark.parametrize("datatype", DATATYPES)
def test_tensor_comes_back_when_it_is_of_any_type(
    client: TritonClient, datatype: str, shape: tuple[int, int]
) -> None:
    x = drawn(datatype, shape)
    told = client.infer(IDENTITY[datatype], {"x": (datatype, x)}).as_numpy("y")
    assert_equal(told, x)


@pytest.mark.falaj_only("Triton refuses FP16 and BF16 in JSON")
@pytest.mark.parametrize("datatype", [of for of in DATATYPES if of != "BF16"])  # which the client refuses
def test_tensor_comes_back_when_it_goes_as_json(http_client: TritonClient, datatype: str) -> None:
    x = drawn(datatype, (4, 3))
    output = http_client.output("y", binary=False)
    told = http_client.infer(IDENTITY[datatype], {"x": (datatype, x)}, binary=False, outputs=[output])
    array = told.as_numpy("y")
    if datatype == "BYTES":  # the client leaves what JSON has as it is
        array = np.vectorize(str.encode, otypes=[np.object_])(array)
    assert_equal(array, x)


@pytest.mark.falaj_only("Triton refuses BF16 in JSON")
def test_bfloat16_comes_as_json_when_asked_for_so(http_client: TritonClient) -> None:
    assert triton_to_np_dtype("BF16") == ml_dtypes.bfloat16
    x = np.array([[1.5, -2.25], [3e38, 1e-38]], ml_dtypes.bfloat16)
    output = http_client.output("y", binary=False)
    told = http_client.infer(IDENTITY["BF16"], {"x": ("BF16", x)}, outputs=[output])
    assert_equal(told.as_numpy("y"), x)


# aiohttp finds that the client should hand it large bodies in another way.
@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
def test_large_tensor_comes_back_when_it_has_64_mebibytes(client: TritonClient) -> None:
    x = np.arange(_LARGE, dtype=np.float32).reshape(4, -1)
    told = client.infer(IDENTITY["FP32"], {"x": ("FP32", x)}).as_numpy("y")
    assert np.array_equal(told, x)


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
def test_large_strings_come_back_when_they_have_64_mebibytes(client: TritonClient) -> None:
    x = np.array([[b"\x00" * (32 << 20)], [bytes(range(256)) * (1 << 17)]], np.object_)
    told = client.infer(IDENTITY["BYTES"], {"x": ("BYTES", x)}).as_numpy("y")
    assert told.shape == (2, 1)
    assert [bytes(element) for element in told[:, 0]] == [x[0, 0], x[1, 0]]


def _add_sub(client: TritonClient, **more: Any) -> Any:
    left, right = np.array([[1, 2, 3, 4]], np.int32), np.array([[10, 20, 30, 40]], np.int32)
    return client.infer("add_sub", {"left": ("INT32", left), "right": ("INT32", right)}, **more)


def test_answer_has_every_output_when_none_is_asked_for(client: TritonClient) -> None:
    result = _add_sub(client)
    assert sorted(client.names_of(result)) == ["difference", "sum"]
    assert result.as_numpy("sum").tolist() == [[11, 22, 33, 44]]
    assert result.as_numpy("difference").tolist() == [[-9, -18, -27, -36]]
    assert result.as_numpy("product") is None


def test_answer_has_the_asked_outputs_when_some_are_asked_for(client: TritonClient) -> None:
    result = _add_sub(client, outputs=[client.output("difference")])
    assert client.names_of(result) == ["difference"]


def test_outputs_are_of_both_kinds_when_asked_for_so(client: TritonClient) -> None:
    outputs = [client.output("sum", binary=False), client.output("difference", binary=True)]
    result = _add_sub(client, outputs=outputs)
    assert result.as_numpy("sum").tolist() == [[11, 22, 33, 44]]
    assert result.as_numpy("difference").tolist() == [[-9, -18, -27, -36]]


def test_id_and_version_come_back_when_the_request_has_them(client: TritonClient) -> None:
    x = np.ones((1, 2), np.float32)
    told = client.infer("versions", {"x": ("FP32", x)}, model_version="1", request_id="a 1/é")
    assert (client.of(told, "id"), client.of(told, "model_version")) == ("a 1/é", "1")
    assert client.of(told, "model_name") == "versions"
    assert told.as_numpy("y").tolist() == [[1, 1]]


def test_newest_version_answers_when_none_is_named(client: TritonClient) -> None:
    told = client.infer("versions", {"x": ("FP32", np.ones((1, 2), np.float32))})
    assert client.of(told, "model_version") == "3"
    assert told.as_numpy("y").tolist() == [[3, 3]]


def test_model_is_found_when_its_name_is_awkward(client: TritonClient) -> None:
    told = client.infer(AWKWARD_NAME, {"x": ("FP32", np.ones((1, 2), np.float32))})
    assert told.as_numpy("y").tolist() == [[7, 7]]


@pytest.mark.parametrize("binary", [True, False])
def test_classes_are_told_when_a_classification_is_asked_for(client: TritonClient, binary: bool) -> None:
    x = drawn("FP32", (2, FEATURES))
    scores = client.infer("classifier", {"x": ("FP32", x)}).as_numpy("y")
    asked = [client.output("y", binary=binary, classes=CLASSES)]
    told = client.infer("classifier", {"x": ("FP32", x)}, outputs=asked).as_numpy("y")
    assert told.shape == (2, CLASSES)
    for row, classes in zip(scores, told, strict=True):
        texts = [text.decode() if isinstance(text, bytes) else text for text in classes]
        order = np.argsort(-row, kind="stable")
        assert [int(text.split(":")[1]) for text in texts] == order.tolist()
        labels = [text.split(":")[2] if text.count(":") == 2 else None for text in texts]
        assert labels == [LABELS[i] if i < len(LABELS) else None for i in order]
        np.testing.assert_allclose([float(text.split(":")[0]) for text in texts], row[order], rtol=1e-5)


@pytest.mark.parametrize("answer", ["gzip", "deflate"])
@pytest.mark.parametrize("request_", ["gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False])
def test_tensor_comes_back_when_it_is_compressed(
    client: TritonClient, request_: str, answer: str, binary: bool
) -> None:
    x = np.tile(drawn("FP32", (1, 100)), (20, 1))
    more = client.compression(request_, answer)
    asked = [client.output("y", binary=binary)]
    told = client.infer(IDENTITY["FP32"], {"x": ("FP32", x)}, binary=binary, outputs=asked, **more)
    assert_equal(told.as_numpy("y"), x)


def test_request_is_answered_when_it_has_priority_timeout_and_parameters(client: TritonClient) -> None:
    x = np.zeros((1, 1), np.int64)
    parameters = {"text": "é", "whole": -3, "half": 0.5, "true": True}
    told = client.infer("ranked", {"n": ("INT64", x)}, priority=1, timeout=10_000_000, parameters=parameters)
    assert told.as_numpy("done").tolist() == [[0]]


@pytest.mark.parametrize("key", ["priority", "timeout", "sequence_id", "binary_data_output", "triton_x"])
def test_client_or_server_refuses_when_a_parameter_is_reserved(client: TritonClient, key: str) -> None:
    x = np.zeros((1, 1), np.float32)
    with pytest.raises(InferenceServerException):
        client.infer(IDENTITY["FP32"], {"x": ("FP32", x)}, parameters={key: "x"})


def test_failure_names_what_is_wrong_when_the_request_is_bad(client: TritonClient) -> None:
    x = np.zeros((1, 1), np.float32)
    with pytest.raises(InferenceServerException, match="nowhere") as unknown:
        client.infer("nowhere", {"x": ("FP32", x)})
    assert {"404", "NOT_FOUND"} & {*statuses_of(unknown.value)}
    with pytest.raises(InferenceServerException, match="wrong") as bad:
        client.infer(IDENTITY["FP32"], {"wrong": ("FP32", x)})
    assert {"400", "INVALID_ARGUMENT"} & {*statuses_of(bad.value)}
    with pytest.raises(InferenceServerException) as sequence:
        client.infer(IDENTITY["FP32"], {"x": ("FP32", x)}, sequence_id=1, sequence_start=True)
    assert {"400", "INVALID_ARGUMENT"} & {*statuses_of(sequence.value)}


def test_answers_belong_to_their_requests_when_many_are_asked_at_once_by_http(target: Target) -> None:
    with tritonclient.http.InferenceServerClient(target.http, concurrency=8) as client:
        asked = []
        for i in range(100):
            x = tritonclient.http.InferInput("x", [1, 2], "FP32")
            x.set_data_from_numpy(np.full((1, 2), i, np.float32), binary_data=i % 2 == 0)
            asked.append(client.async_infer("versions", [x], request_id=str(i)))
        for i, one in enumerate(asked):
            result = one.get_result(timeout=60)
            assert result.get_response()["id"] == str(i)
            assert result.as_numpy("y").tolist() == [[3 * i, 3 * i]]


def test_answers_belong_to_their_requests_when_many_are_asked_at_once_by_grpc(target: Target) -> None:
    with tritonclient.grpc.InferenceServerClient(target.grpc) as client:
        asked: list[Future[Any]] = []
        for i in range(100):
            x = tritonclient.grpc.InferInput("x", [1, 2], "FP32")
            x.set_data_from_numpy(np.full((1, 2), i, np.float32))
            done: Future[Any] = Future()
            asked.append(done)

            def tell(result: Any, error: Any, done: Future[Any] = done) -> None:
                done.set_exception(error) if error else done.set_result(result)

            client.async_infer("versions", [x], tell, request_id=str(i), client_timeout=60)
        for i, one in enumerate(asked):
            result = one.result(timeout=60)
            assert result.get_response().id == str(i)
            assert result.as_numpy("y").tolist() == [[3 * i, 3 * i]]

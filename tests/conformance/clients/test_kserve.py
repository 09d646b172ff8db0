"""KServe's SDK: InferenceRESTClient and InferenceGRPCClient."""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

from tests.conformance.clients.kserve_client import Asked, Told, Transport, are_ready, infer
from tests.conformance.repository import AWKWARD_NAME, CLASSES, FEATURES, IDENTITY, LABELS
from tests.conformance.target import Target
from tests.conformance.tensors import assert_equal
from tests.zoo import DATATYPES, random_array

_PATIENCE = 60  # seconds
_LONG_PATIENCE = 400  # seconds: the SDK makes a Python number of each element of a large tensor
_BINARY = {"binary_data": True}
# The SDK knows no BF16, and writes no FP16 as JSON.
_CASES = [
    (datatype, binary)
    for datatype in DATATYPES
    for binary in (True, False)
    if datatype != "BF16" and (datatype != "FP16" or binary)
]
Ask = Callable[[Asked], Told]


@pytest.fixture(scope="module")
def other_process() -> Iterator[ProcessPoolExecutor]:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        yield pool


@pytest.fixture(params=["rest", "grpc"])
def transport(request: pytest.FixtureRequest) -> Transport:
    chosen: Transport = request.param
    return chosen


@pytest.fixture
def ask(transport: Transport, target: Target, other_process: ProcessPoolExecutor) -> Ask:
    """Asks the target by one of the SDK's clients."""
    address = target.http if transport == "rest" else target.grpc

    def infer_there(asked: Asked) -> Told:
        patience = _LONG_PATIENCE if asked.x.size > 1_000_000 else _PATIENCE
        return other_process.submit(infer, transport, address, asked).result(patience)

    return infer_there


def drawn(datatype: str, shape: tuple[int, ...]) -> np.ndarray:
    return random_array(np.random.default_rng(3), datatype, shape)


@pytest.mark.parametrize(("datatype", "binary"), _CASES)
def test_tensor_comes_back_when_asked_by_kserve(ask: Ask, datatype: str, binary: bool) -> None:
    x = drawn(datatype, (3, 2))
    told = ask(Asked(IDENTITY[datatype], datatype, x, binary, id="1"))
    assert (told.error, told.id) == ("", "1")
    y = told.outputs["y"]
    if datatype == "BYTES":  # of which the SDK makes strings where they came as JSON
        y = np.array([e if isinstance(e, bytes) else e.encode() for e in y.reshape(-1)], np.object_).reshape(
            y.shape
        )
    assert_equal(y, x)


def test_outputs_are_binary_when_kserve_asks_for_them(ask: Ask) -> None:
    x = drawn("FP32", (3, 2))
    assert_equal(ask(Asked(IDENTITY["FP32"], "FP32", x, output=_BINARY)).outputs["y"], x)


@pytest.mark.timeout(2 * _LONG_PATIENCE)
def test_large_tensor_comes_back_when_kserve_sends_64_mebibytes(ask: Ask) -> None:
    x = np.arange((64 << 20) // 4, dtype=np.float32).reshape(1, -1)
    told = ask(Asked(IDENTITY["FP32"], "FP32", x, output=_BINARY))
    assert np.array_equal(told.outputs["y"], x)


def test_classes_are_told_when_kserve_asks_for_them(ask: Ask) -> None:
    x = drawn("FP32", (1, FEATURES))
    told = ask(Asked("classifier", "FP32", x, output={"classification": 1}))
    (text,) = told.outputs["y"].reshape(-1)
    text = text.decode() if isinstance(text, bytes) else text
    index = int(text.split(":")[1])
    assert index < CLASSES
    assert text.split(":")[2:] == ([LABELS[index]] if index < len(LABELS) else [])


def test_failure_is_told_when_the_model_is_unknown_to_kserve(ask: Ask, transport: Transport) -> None:
    told = ask(Asked("nowhere", "FP32", np.zeros((1, 1), np.float32)))
    assert told.status == ("404" if transport == "rest" else "NOT_FOUND")
    assert "nowhere" in told.error


@pytest.mark.falaj_only("by REST the SDK reads {live: true} and {ready: true}, which Triton does not say")
def test_server_and_models_are_ready_when_kserve_asks(
    transport: Transport, target: Target, other_process: ProcessPoolExecutor
) -> None:
    # By REST it puts a name into the path as it is.
    address, other = (target.http, "fixed") if transport == "rest" else (target.grpc, AWKWARD_NAME)
    asked = other_process.submit(are_ready, transport, address, ["classifier", other])
    assert asked.result(_PATIENCE) == [True] * 4

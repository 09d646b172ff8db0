"""Requests and answers of the gRPC service, made of tritonclient's messages."""

from collections.abc import Sequence
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from tests.conformance.tensors import CONTENTS, blob, from_blob

Tensor = tuple[str, str, np.ndarray]  # name, data type, elements
PATIENCE = 60  # seconds


def raw_request(model: str, *inputs: Tensor, **more: Any) -> Any:
    """A ModelInferRequest with its data in raw_input_contents; `more` are its other fields."""
    request = service_pb2.ModelInferRequest(model_name=model, **more)
    for name, datatype, array in inputs:
        request.inputs.add(name=name, datatype=datatype, shape=array.shape)
        request.raw_input_contents.append(blob(array))
    return request


def typed_request(model: str, *inputs: Tensor, **more: Any) -> Any:
    """A ModelInferRequest with its data in each input's `contents`."""
    request = service_pb2.ModelInferRequest(model_name=model, **more)
    for name, datatype, array in inputs:
        tensor = request.inputs.add(name=name, datatype=datatype, shape=array.shape)
        getattr(tensor.contents, CONTENTS[datatype]).extend(array.reshape(-1).tolist())
    return request


def parameter(value: bool | int | float | str) -> Any:
    """An InferParameter with the field that belongs to the value's type; whole numbers are int64."""
    kinds = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}
    return service_pb2.InferParameter(**{kinds[type(value)]: value})


def arrays_of(response: Any) -> dict[str, np.ndarray]:
    """The outputs of an answer, which have to be in raw_output_contents and nowhere else."""
    assert len(response.raw_output_contents) == len(response.outputs)
    found = {}
    for output, data in zip(response.outputs, response.raw_output_contents, strict=True):
        assert not output.HasField("contents")
        found[output.name] = from_blob(output.datatype, output.shape, data)
    return found


def failure_of(
    call: Any, request: Any, *, metadata: Sequence[tuple[str, str]] = (), timeout: float = PATIENCE
) -> grpc.RpcError:
    """The failure of a call, which has to fail and to say why."""
    with pytest.raises(grpc.RpcError) as caught:
        call(request, metadata=metadata, timeout=timeout)
    assert caught.value.details()
    return caught.value


def assert_fails(call: Any, request: Any, code: grpc.StatusCode, *told: str) -> None:
    """The call fails with this status, and its message tells these."""
    failure = failure_of(call, request)
    assert failure.code() is code, failure
    for text in told:
        assert text in failure.details()

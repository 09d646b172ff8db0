"""NVIDIA's four clients, asked in one way."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http
import tritonclient.http.aio

from tests.conformance.target import Target

KINDS = ("http", "http_aio", "grpc", "grpc_aio")


class TritonClient:
    """One of tritonclient's clients. Those that are asynchronous run on an event loop of their own.

    Attributes:
        by_http: Whether it speaks HTTP.
    """

    def __init__(self, kind: str, target: Target) -> None:
        self.by_http = kind.startswith("http")
        self._loop = asyncio.new_event_loop() if kind.endswith("_aio") else None
        transport = tritonclient.http if self.by_http else tritonclient.grpc
        self._tensors = transport
        address = target.http if self.by_http else target.grpc
        module = transport.aio if self._loop else transport
        self._client = self._run(lambda: module.InferenceServerClient(address))

    def close(self) -> None:
        self._run(self._client.close)
        if self._loop:
            self._loop.close()

    def ask(self, method: str, *arguments: Any, **more: Any) -> Any:
        """What the client's method returns."""
        return self._run(lambda: getattr(self._client, method)(*arguments, **more))

    def told(self, method: str, *arguments: Any, **more: Any) -> Any:
        """What the method returns, in the words of JSON by either protocol."""
        if not self.by_http:
            more["as_json"] = True
        return self.ask(method, *arguments, **more)

    def infer(
        self, model: str, arrays: dict[str, tuple[str, np.ndarray]], *, binary: bool = True, **more: Any
    ) -> Any:
        """The result for tensors given as data type and array; `binary` matters by HTTP only."""
        inputs = [self.tensor(name, *tensor, binary=binary) for name, tensor in arrays.items()]
        return self.ask("infer", model, inputs, **more)

    def tensor(self, name: str, datatype: str, array: np.ndarray, *, binary: bool = True) -> Any:
        """An input."""
        tensor = self._tensors.InferInput(name, [*array.shape], datatype)
        if self.by_http:
            return tensor.set_data_from_numpy(array, binary_data=binary)
        return tensor.set_data_from_numpy(array)

    def output(self, name: str, *, binary: bool = True, classes: int = 0) -> Any:
        """An output that is asked for."""
        if self.by_http:
            return self._tensors.InferRequestedOutput(name, binary_data=binary, class_count=classes)
        return self._tensors.InferRequestedOutput(name, class_count=classes)

    def compression(self, request: str, answer: str) -> dict[str, str]:
        """The keywords of `infer` that ask for it; by gRPC one word says both."""
        if self.by_http:
            return {"request_compression_algorithm": request, "response_compression_algorithm": answer}
        return {"compression_algorithm": request}

    def names_of(self, result: Any) -> list[str]:
        """The outputs of a result, in order."""
        answer = result.get_response()
        return [output["name"] if self.by_http else output.name for output in _field(answer, "outputs")]

    def of(self, result: Any, name: str) -> Any:
        """A field of the answer beside its tensors; None where there is none."""
        return _field(result.get_response(), name)

    def _run(self, call: Callable[[], Any]) -> Any:
        if self._loop is None:
            return call()

        async def inside() -> Any:
            made = call()
            return await made if asyncio.iscoroutine(made) else made

        return self._loop.run_until_complete(inside())


def _field(answer: Any, name: str) -> Any:
    return answer.get(name) if isinstance(answer, dict) else getattr(answer, name)


def statuses_of(error: tritonclient.http.InferenceServerException) -> Sequence[str]:
    """A failure's status: a number by HTTP, a name by gRPC."""
    return (str(error.status()), str(error.status()).removeprefix("StatusCode."))

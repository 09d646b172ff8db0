"""Calls of KServe's SDK, for a process of their own: it and tritonclient cannot be in one, because both
register the protocol's messages with protobuf under the same names. So it is imported where it is used."""

import asyncio
from dataclasses import dataclass, field
from typing import Any, Literal

import grpc
import httpx
import numpy as np

Transport = Literal["rest", "grpc"]


@dataclass(frozen=True)
class Asked:
    """An infer request of one input, `x`, and all outputs, or `y` with the parameters given."""

    model: str
    datatype: str
    x: np.ndarray
    binary: bool = True  # by REST
    output: dict[str, Any] | None = None
    id: str | None = None


@dataclass(frozen=True)
class Told:
    """An answer, or why there is none."""

    id: str = ""
    outputs: dict[str, np.ndarray] = field(default_factory=dict)
    status: str = ""  # a number by REST, a name by gRPC
    error: str = ""


def infer(transport: Transport, address: str, asked: Asked) -> Told:
    """Ask a server at host:port."""
    from kserve import InferInput, InferRequest
    from kserve.protocol.infer_type import RequestedOutput

    x = InferInput("x", [*asked.x.shape], asked.datatype)
    x.set_data_from_numpy(asked.x, binary_data=asked.binary)
    outputs = None if asked.output is None else [RequestedOutput("y", asked.output)]
    request = InferRequest(asked.model, [x], request_id=asked.id, request_outputs=outputs)
    try:
        told = asyncio.run(_infer(transport, address, request))
    except httpx.HTTPStatusError as error:
        return Told(status=str(error.response.status_code), error=str(error))
    except grpc.RpcError as error:
        return Told(status=error.code().name, error=error.details())
    return Told(told.id, {output.name: output.as_numpy() for output in told.outputs})


def are_ready(transport: Transport, address: str, models: list[str]) -> list[bool]:
    """Of a server whether it is live and ready, then of each model whether it is ready."""
    return asyncio.run(_are_ready(transport, address, models))


async def _infer(transport: Transport, address: str, request: Any) -> Any:
    client = _client(transport, address)
    try:
        if transport == "grpc":
            return await client.infer(request)
        return await client.infer(f"http://{address}", request, model_name=request.model_name)
    finally:
        await client.close()


async def _are_ready(transport: Transport, address: str, models: list[str]) -> list[bool]:
    client = _client(transport, address)
    server = () if transport == "grpc" else (f"http://{address}",)
    try:
        told = [await client.is_server_live(*server), await client.is_server_ready(*server)]
        return told + [await client.is_model_ready(*server, model) for model in models]
    finally:
        await client.close()


def _client(transport: Transport, address: str) -> Any:
    from kserve import InferenceGRPCClient, InferenceRESTClient
    from kserve.inference_client import RESTConfig

    return (
        InferenceGRPCClient(address)
        if transport == "grpc"
        else InferenceRESTClient(RESTConfig(protocol="v2"))
    )

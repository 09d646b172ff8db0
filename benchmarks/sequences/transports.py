"""One request of a sequence, by each way of asking a server."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
import numpy as np
import numpy.typing as npt
from tritonclient.grpc import service_pb2, service_pb2_grpc

import falaj

Floats = npt.NDArray[np.float32]
_CONNECTIONS = 256


@dataclass(frozen=True)
class Step:
    """One request. `x` is [width]."""

    model: str
    id: int
    x: Floats
    start: bool
    end: bool


class Transport(Protocol):
    """Answers steps: y, flat. Closed when its loop is."""

    async def ask(self, step: Step) -> Floats: ...

    async def close(self) -> None: ...


class InProcess:
    """falaj.Engine."""

    def __init__(self, engine: falaj.Engine) -> None:
        self._engine = engine

    async def ask(self, step: Step) -> Floats:
        answer = await self._engine.infer_async(
            step.model,
            {"x": step.x[None]},
            sequence_id=step.id,
            sequence_start=step.start,
            sequence_end=step.end,
            outputs=["y"],
        )
        return answer["y"].ravel()

    async def close(self) -> None:
        pass


class Http:
    """JSON, over connections that are kept."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._free: asyncio.LifoQueue[tuple[asyncio.StreamReader, asyncio.StreamWriter] | None] = (
            asyncio.LifoQueue()
        )
        for _ in range(_CONNECTIONS):
            self._free.put_nowait(None)

    async def ask(self, step: Step) -> Floats:
        body = json.dumps(
            {
                "parameters": {
                    "sequence_id": step.id, "sequence_start": step.start, "sequence_end": step.end
                },
                "inputs": [
                    {"name": "x", "shape": [1, len(step.x)], "datatype": "FP32", "data": step.x.tolist()}
                ],
                "outputs": [{"name": "y"}],
            }
        ).encode()  # fmt: skip
        connection = await self._free.get() or await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = connection
        head = (
            f"POST /v2/models/{step.model}/infer HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        answered = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(answered.split("content-length:")[1].split("\r\n")[0])
        answer = json.loads(await reader.readexactly(length))
        self._free.put_nowait(connection)
        if "outputs" not in answer:
            raise RuntimeError(answer["error"])
        return np.array(answer["outputs"][0]["data"], np.float32)

    async def close(self) -> None:
        while not self._free.empty():
            connection = self._free.get_nowait()
            if connection is not None:
                connection[1].close()


def _message(step: Step, id_: str = "") -> Any:
    request = service_pb2.ModelInferRequest(model_name=step.model, id=id_)
    request.parameters["sequence_id"].uint64_param = step.id
    request.parameters["sequence_start"].bool_param = step.start
    request.parameters["sequence_end"].bool_param = step.end
    tensor = request.inputs.add(name="x", datatype="FP32", shape=[1, len(step.x)])
    assert tensor.name
    request.outputs.add(name="y")
    request.raw_input_contents.append(step.x.tobytes())
    return request


def _flat(response: Any) -> Floats:
    return np.frombuffer(response.raw_output_contents[0], np.float32)


class Grpc:
    """Unary calls, over one channel."""

    def __init__(self, port: int) -> None:
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    async def ask(self, step: Step) -> Floats:
        return _flat(await self._stub.ModelInfer(_message(step)))

    async def close(self) -> None:
        await self._channel.close()


class Stream:
    """ModelStreamInfer: one stream for all."""

    def __init__(self, port: int) -> None:
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._asked: asyncio.Queue[Any] = asyncio.Queue()
        self._waiting: dict[str, asyncio.Future[Floats]] = {}
        self._ids = itertools.count()
        self._reading = asyncio.ensure_future(self._read(stub.ModelStreamInfer(self._requests())))

    async def _requests(self) -> AsyncIterator[Any]:
        while (message := await self._asked.get()) is not None:
            yield message

    async def _read(self, answers: Any) -> None:
        async for answer in answers:
            future = self._waiting.pop(answer.infer_response.id)
            if answer.error_message:
                future.set_exception(RuntimeError(answer.error_message))
            else:
                future.set_result(_flat(answer.infer_response))

    async def ask(self, step: Step) -> Floats:
        id_ = str(next(self._ids))
        future = self._waiting[id_] = asyncio.get_running_loop().create_future()
        self._asked.put_nowait(_message(step, id_))
        return await future

    async def close(self) -> None:
        self._asked.put_nowait(None)
        await self._reading
        await self._channel.close()

"""The app inside an ASGI server: the engine lives as long as the server does, and infer is answered."""

import asyncio
import gzip
import json
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import tritonclient.http as triton
import uvicorn
from starlette.types import Message

import falaj
from falaj.server.api import shapes
from falaj.server.api.asgi import EngineApp, create_app
from falaj.server.api.infer import HttpInferCalls
from falaj.server.ops.settings import Settings, load_settings
from tests import zoo
from tests.server.asking import Asking, error_of
from tests.server.serving_process import until
from tests.serving import GATED, QUICK, add_model, add_python

pytestmark = pytest.mark.core

_INFER = "/v2/models/mlp/infer"
_ROW = {"inputs": [{"name": "x", "shape": [1, 32], "datatype": "FP32", "data": [0.5] * 32}]}


def _settings(models: Path, **more: str) -> Settings:
    named = {f"FALAJ_{key.upper()}": value for key, value in more.items()}
    return load_settings(
        environment={"FALAJ_SERVER_REPOSITORY": str(models), "FALAJ_SERVER_CORES": "1", **named}
    )


class Lifespan:
    """An app between its startup and its shutdown."""

    def __init__(self, app: EngineApp) -> None:
        self.ask = Asking(app)
        self._app = app
        self._told: asyncio.Queue[Message] = asyncio.Queue()
        self._asked: asyncio.Queue[Message] = asyncio.Queue()

    def __enter__(self) -> Asking:
        told = self.ask.runner.run(self._start())
        assert told == {"type": "lifespan.startup.complete"}
        return self.ask

    def __exit__(self, *_: object) -> None:
        assert self.ask.runner.run(self._stop()) == {"type": "lifespan.shutdown.complete"}
        self.ask.__exit__(None, None, None)

    async def _start(self) -> Message:
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}}
        self._task = asyncio.create_task(self._app(scope, self._asked.get, self._told.put))
        await self._asked.put({"type": "lifespan.startup"})
        return await self._told.get()

    async def _stop(self) -> Message:
        await self._asked.put({"type": "lifespan.shutdown"})
        told = await self._told.get()
        await self._task
        return told


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    folder = tmp_path_factory.mktemp("models")
    for model in (
        zoo.mlp(),
        zoo.tokens(),
        *(zoo.identity(datatype, 2, seed=3) for datatype in zoo.DATATYPES),
    ):
        add_model(folder, model, QUICK)
    with Lifespan(create_app(_settings(folder))) as ask:
        yield ask


@contextmanager
def uvicorn_on(app: EngineApp) -> Iterator[str]:
    """Serve on a free port of this machine; give `host:port`."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        until(lambda: server.started or not thread.is_alive(), "uvicorn started")
        assert server.started
        yield f"127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


def test_infer_answers_in_its_shape_when_asked(ask: Asking) -> None:
    response = ask("POST", _INFER, _ROW)
    assert response.status_code == 200, response.text
    told = msgspec.convert(response.json(), shapes.InferResponse, strict=True)
    assert (told.model_name, told.model_version, told.outputs[0].shape) == ("mlp", "1", [1, 2])
    versioned = ask("POST", "/v2/models/mlp/versions/1/infer", {**_ROW, "id": "a"})
    assert versioned.json() == {**response.json(), "id": "a"}


@pytest.mark.parametrize("datatype", zoo.DATATYPES)
def test_infer_answers_binary_when_asked_in_binary(ask: Asking, datatype: str) -> None:
    model = zoo.identity(datatype, 2, seed=3)
    arrays = model.sample(np.random.default_rng(1), 3)
    asked = [triton.InferInput(name, array.shape, datatype) for name, array in arrays.items()]
    for tensor, array in zip(asked, arrays.values(), strict=True):
        tensor.set_data_from_numpy(array)
    wanted = [triton.InferRequestedOutput(output.name, binary_data=True) for output in model.outputs]
    body, length = triton.InferenceServerClient.generate_request_body(asked, outputs=wanted)
    headers = {"inference-header-content-length": str(length)}
    response = ask("POST", f"/v2/models/{model.name}/infer", body, headers=headers)
    assert response.status_code == 200, response.text
    told = int(response.headers["inference-header-content-length"])
    result = triton.InferResult.from_response_body(response.content, header_length=told)
    assert result.get_response()["outputs"][0]["datatype"] == datatype
    expected = zoo.Reference(model).run(arrays)
    for output in model.outputs:
        assert result.as_numpy(output.name).tolist() == expected[output.name].tolist()


def test_infer_says_what_is_wrong_when_it_fails(ask: Asking) -> None:
    assert "'nope'" in error_of(ask("POST", "/v2/models/nope/infer", _ROW), 404)
    error_of(ask("POST", _INFER, b"x"), 400)
    error_of(ask("POST", "/v2/models/mlp/versions/0/infer", _ROW), 400)
    error_of(ask("POST", _INFER, b"x", headers={"content-encoding": "br"}), 501)
    response = ask(
        "POST", _INFER, gzip.compress(json.dumps(_ROW).encode()), headers={"content-encoding": "gzip"}
    )
    assert response.status_code == 200


def test_requests_of_one_turn_share_batches_when_many_are_asked(ask: Asking) -> None:
    async def main() -> list[Any]:
        return await asyncio.gather(*(ask.client.post(_INFER, json=_ROW) for _ in range(64)))

    before = ask("GET", "/v2/models/mlp/stats").json()["model_stats"][0]
    assert {response.status_code for response in ask.runner.run(main())} == {200}
    after = ask("GET", "/v2/models/mlp/stats").json()["model_stats"][0]
    assert after["inference_count"] - before["inference_count"] == 64
    assert after["execution_count"] - before["execution_count"] < 64


def test_request_is_withdrawn_when_its_client_leaves(models: Path) -> None:
    add_python(models, "gated", GATED, head="max_batch_size = 1")
    with Lifespan(create_app(_settings(models))) as ask:
        module = sys.modules.pop("falaj_test_gate")
        body = {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [1]}]}

        async def main() -> None:
            path = "/v2/models/gated/infer"
            first = asyncio.create_task(ask.client.post(path, json=body))
            assert await asyncio.to_thread(module.started.wait, 30)
            second = asyncio.create_task(ask.client.post(path, json=body))
            while (await _waiting(ask)) < 1:
                await asyncio.sleep(0.01)
            second.cancel()
            while (await _waiting(ask)) > 0:
                await asyncio.sleep(0.01)
            module.gate.set()
            assert (await first).status_code == 200

        ask.runner.run(main())
        stats = ask("GET", "/v2/models/gated/stats").json()["model_stats"][0]
        assert (stats["inference_count"], stats["inference_stats"]["fail"]["count"]) == (1, 1)


async def _waiting(ask: Asking) -> int:
    app: EngineApp = ask.client._transport.app  # type: ignore[attr-defined]
    engine = app.engine
    assert engine is not None
    return int(engine.stats("gated")[0]["waiting_requests"])


def test_disconnect_withdraws_the_request_when_the_server_tells_of_it(models: Path) -> None:
    add_python(models, "gated", GATED, head="max_batch_size = 1")
    with falaj.Engine(models, cores=1, strict=True) as engine:
        module = sys.modules.pop("falaj_test_gate")

        async def main() -> None:
            from starlette.requests import Request

            infer = HttpInferCalls(engine.runtime, {})
            gone = asyncio.Event()

            async def receive() -> Message:
                await gone.wait()
                return {"type": "http.disconnect"}

            path = "/v2/models/gated/infer"
            scope = {"type": "http", "path": path, "raw_path": path.encode(), "headers": [], "method": "POST"}
            body = b'{"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [1]}]}'
            request = Request(scope, receive)
            asking = asyncio.create_task(infer.answer(request, body))
            assert await asyncio.to_thread(module.started.wait, 30)
            gone.set()
            with pytest.raises(falaj.Cancelled):
                await asking
            module.gate.set()
            await asyncio.sleep(0)
            infer.close()

        asyncio.run(main())


def test_startup_fails_with_the_reason_when_there_is_no_repository(tmp_path: Path) -> None:
    told: list[Message] = []

    async def main() -> None:
        async def receive() -> Message:
            return {"type": "lifespan.startup"}

        async def send(message: Message) -> None:
            told.append(message)

        await create_app(_settings(tmp_path / "nope"))({"type": "lifespan"}, receive, send)

    asyncio.run(main())
    assert [message["type"] for message in told] == ["lifespan.startup.failed"]
    assert "nope' is not a folder" in told[0]["message"]


def test_app_is_unavailable_when_its_server_runs_no_lifespan(models: Path) -> None:
    with Asking(create_app(_settings(models))) as ask:
        assert "lifespan" in error_of(ask("GET", "/v2"), 503)


def test_settings_hold_when_the_app_is_made_of_them(models: Path) -> None:
    add_python(models, "a")
    settings = _settings(
        models, server_compat="triton", server_model_control="none", http_max_body_bytes="2048"
    )
    with Lifespan(create_app(settings)) as ask:
        assert ask("GET", "/v2").json()["name"] == "triton"
        assert "polling" in error_of(ask("POST", "/v2/repository/models/a/load"), 503)
        error_of(ask("POST", "/v2/models/a/infer", b" " * 2049), 413)


def test_tritons_client_is_served_when_it_asks_a_real_server(models: Path) -> None:
    add_model(models, zoo.mlp(), QUICK)
    with uvicorn_on(create_app(_settings(models))) as url:
        client = triton.InferenceServerClient(url)
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("mlp")
        assert not client.is_model_ready("nope")
        assert client.get_server_metadata()["name"] == "falaj"
        assert client.get_model_metadata("mlp", "1")["versions"] == ["1"]
        assert client.get_model_config("mlp")["max_batch_size"] > 0
        x = np.random.default_rng(0).standard_normal((5, 32), dtype=np.float32)
        asked = triton.InferInput("x", x.shape, "FP32")
        asked.set_data_from_numpy(x)
        expected = zoo.Reference(zoo.mlp()).run({"x": x})["y"]
        for algorithm in (None, "gzip", "deflate"):
            result = client.infer(
                "mlp",
                [asked],
                request_compression_algorithm=algorithm,
                response_compression_algorithm=algorithm,
            )
            np.testing.assert_allclose(result.as_numpy("y"), expected, rtol=1e-4, atol=1e-5)
        assert client.get_inference_statistics("mlp")["model_stats"][0]["inference_count"] == 15
        assert client.get_model_repository_index() == [
            {"name": "mlp", "version": "1", "state": "READY", "reason": ""}
        ]
        files = {"file:2/model.onnx": zoo.mlp().proto.SerializeToString()}  # type: ignore[union-attr]
        client.load_model("other", config="{}", files=files)
        assert client.is_model_ready("other", "2")
        client.unload_model("other")
        assert not client.is_model_ready("other")
        client.close()

"""A client that behaves well, while others do not."""

import http.client
import json
import socket
import ssl
import threading
from collections.abc import Callable
from types import TracebackType

import grpc
import numpy as np
import tritonclient.grpc as triton_grpc

from tests.server.serving_process import until

_PATIENCE = 60  # seconds: of a loaded two-core machine
_PAUSE = 0.005  # seconds from an answer to the next request
_GO_ON = 20  # answers that show that it goes on

# Sends a number to a model, returns what the model made of it.
Ask = Callable[[float], float]


class HttpAsk:
    """Asks over one connection that is kept; not thread-safe.

    Args:
        source: Address that the client has.
    """

    def __init__(
        self,
        port: int,
        model: str = "echo",
        *,
        source: str = "127.0.0.1",
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._path = f"/v2/models/{model}/infer"
        own = (source, 0)
        if context is None:
            self._connection = http.client.HTTPConnection(
                "127.0.0.1", port, timeout=_PATIENCE, source_address=own
            )
        else:
            self._connection = http.client.HTTPSConnection(
                "localhost", port, timeout=_PATIENCE, source_address=own, context=context
            )
        self._connection.connect()
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __call__(self, value: float) -> float:
        tensor = {"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [value]}
        self._connection.request("POST", self._path, json.dumps({"inputs": [tensor]}))
        response = self._connection.getresponse()
        told = response.read()
        assert response.status == 200, (response.status, told)
        assert not response.will_close, "the server closes a connection of a client that did nothing"
        return float(json.loads(told)["outputs"][0]["data"][0])

    def close(self) -> None:
        self._connection.close()


class GrpcAsk:
    """Asks over one channel; thread-safe."""

    def __init__(
        self, port: int, model: str = "echo", credentials: grpc.ChannelCredentials | None = None
    ) -> None:
        self._model = model
        self._client = triton_grpc.InferenceServerClient(
            f"localhost:{port}" if credentials else f"127.0.0.1:{port}",
            ssl=credentials is not None,
            creds=credentials,
            channel_args=[("grpc.use_local_subchannel_pool", 1)],  # a connection of its own
        )

    def __call__(self, value: float) -> float:
        x = triton_grpc.InferInput("x", [1, 1], "FP32")
        x.set_data_from_numpy(np.array([[value]], np.float32))
        answer = self._client.infer(self._model, [x], client_timeout=_PATIENCE).as_numpy("y")
        assert answer is not None
        return float(answer[0, 0])

    def close(self) -> None:
        self._client.close()


class GoodClient:
    """Asks `echo` every few milliseconds from a thread of its own until the context is left.

    Whoever leaves the context without an exception knows that every answer came and was right.
    """

    def __init__(self, ask: HttpAsk | GrpcAsk) -> None:
        self._ask = ask
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="good-client")
        self._failure: BaseException | None = None
        self.answers = 0  # written by its thread alone

    def __enter__(self) -> "GoodClient":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.goes_on()
        finally:
            self._end.set()
            self._thread.join()
            self._ask.close()
        if error is None:
            self._check()

    def goes_on(self) -> None:
        """Wait for some more answers."""
        enough = self.answers + _GO_ON
        until(lambda: self.answers >= enough or self._failure is not None, "the good client is answered")
        self._check()

    def _check(self) -> None:
        if self._failure is not None:
            raise AssertionError(f"the good client failed after {self.answers} answers") from self._failure

    def _run(self) -> None:
        try:
            while not self._end.is_set():
                value = float(self.answers % 1000)
                told = self._ask(value)
                assert told == value, f"asked {value}, was told {told}"
                self.answers += 1
                self._end.wait(_PAUSE)
        except BaseException as failure:
            self._failure = failure

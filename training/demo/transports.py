"""The ways in which a served model is asked: V2 by HTTP and gRPC, and in process."""

import json
import time
from collections.abc import Sequence
from http.client import HTTPConnection
from typing import Any

import numpy as np

import falaj
from falaj.training.demo.replay import KEYS, Asked, Latencies
from falaj.training.errors import TrainingError


class Http:
    """One request of JSON for each flight, over one connection."""

    name = "HTTP"

    def __init__(self, port: int, model: str) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=60)
        self._path = f"/v2/models/{model}/infer"
        self.latencies = Latencies()

    def ask(self, flights: Sequence[Asked]) -> list[float]:
        """Return how likely each is late."""
        return [self._one(flight) for flight in flights]

    def _one(self, flight: Asked) -> float:
        begin = time.perf_counter()
        self._connection.request("POST", self._path, json.dumps(body_of(flight)))
        response = self._connection.getresponse()
        answer = json.loads(response.read())
        self.latencies.seconds.append(time.perf_counter() - begin)
        if response.status != 200:
            raise TrainingError(f"HTTP {response.status}: {answer['error']}")
        return float(answer["outputs"][0]["data"][1])


def body_of(flight: Asked) -> dict[str, Any]:
    """Return a flight's request as V2 has it in JSON."""
    texts = [{"name": key, "shape": [1, 1], "datatype": "BYTES", "data": [flight.keys[key]]} for key in KEYS]
    times = {"scheduled": flight.scheduled, "features_as_of": flight.at_us}
    whole = [{"name": key, "shape": [1, 1], "datatype": "INT64", "data": [of]} for key, of in times.items()]
    return {"inputs": texts + whole, "outputs": [{"name": "probabilities"}]}


class Grpc:
    """One request for each flight by Triton's own client, over one connection."""

    name = "gRPC"

    def __init__(self, port: int, model: str) -> None:
        from tritonclient import grpc

        self._grpc = grpc
        self._client = grpc.InferenceServerClient(f"127.0.0.1:{port}")
        self._model = model
        self.latencies = Latencies()

    def ask(self, flights: Sequence[Asked]) -> list[float]:
        """Return how likely each is late."""
        return [self._one(flight) for flight in flights]

    def _one(self, flight: Asked) -> float:
        inputs = [self._input(key, "BYTES", np.array([[flight.keys[key]]], np.object_)) for key in KEYS]
        inputs.append(self._input("scheduled", "INT64", np.array([[flight.scheduled]], np.int64)))
        inputs.append(self._input("features_as_of", "INT64", np.array([[flight.at_us]], np.int64)))
        wanted = [self._grpc.InferRequestedOutput("probabilities")]
        begin = time.perf_counter()
        answer = self._client.infer(self._model, inputs, outputs=wanted, client_timeout=60)
        self.latencies.seconds.append(time.perf_counter() - begin)
        return float(answer.as_numpy("probabilities")[0, 1])

    def _input(self, name: str, datatype: str, value: Any) -> Any:
        made = self._grpc.InferInput(name, value.shape, datatype)
        made.set_data_from_numpy(value)
        return made


class InProcess:
    """All flights of a wave as one request to an engine in this process."""

    name = "falaj.Engine"

    def __init__(self, engine: falaj.Engine, model: str) -> None:
        self._engine, self._model = engine, model
        self.latencies = Latencies()

    def ask(self, flights: Sequence[Asked]) -> list[float]:
        """Return how likely each is late."""
        if not flights:
            return []
        inputs = {key: np.array([[each.keys[key]] for each in flights], np.object_) for key in KEYS}
        inputs["scheduled"] = np.array([[each.scheduled] for each in flights], np.int64)
        inputs["features_as_of"] = np.array([[each.at_us] for each in flights], np.int64)
        begin = time.perf_counter()
        answer = self._engine.infer(self._model, inputs, outputs=["probabilities"])
        self.latencies.seconds.append(time.perf_counter() - begin)
        return [float(value) for value in answer["probabilities"][:, 1]]

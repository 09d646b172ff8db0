"""Answers to requests whose tensors lie in shared memory: what is kept of them, and how they are counted."""

import http.client
import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import falaj
from falaj import _core
from tests.engine.pipeline_models import add_pipeline
from tests.server.serving_process import until
from tests.server.wire_serving import WireServing
from tests.serving import GATED, add_python
from tests.wire.shared_file import PREFIX, SharedFile, place, tensor

pytestmark = pytest.mark.core

_WIDE = 32_768  # 128 KiB of floats, which are worth attaching
_TENSORS = f"""
[[input]]
name = "x"
datatype = "FP32"
shape = [-1, {_WIDE}]

[[output]]
name = "y"
datatype = "FP32"
shape = [-1, {_WIDE}]
"""
_CHAIN = """
[[input]]
name = "x"

[[step]]
model = "gated"
inputs = { x = "x" }
outputs = { y = "y" }

[[output]]
name = "y"
"""
_ONES, _TWOS = np.ones((1, _WIDE), np.float32), np.full((1, _WIDE), 2, np.float32)
_BYTES = _ONES.nbytes


@dataclass(frozen=True)
class Shared:
    """A server in this process, and a file of which the region `r` is two tensors long.

    Attributes:
        gated: The module of the model `gated`, which waits for its gate.
    """

    engine: falaj.Engine
    file: SharedFile
    gated: Any
    port: int
    memory: _core.SharedMemory

    def ask(self, model: str, *outputs: dict[str, Any]) -> tuple[int, Any]:
        """Send `x` from the region's begin; return status and answer."""
        request: dict[str, Any] = {"inputs": [tensor("x", "FP32", (1, _WIDE), place("r", _BYTES))]}
        if outputs:
            request["outputs"] = list(outputs)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("POST", f"/v2/models/{model}/infer", json.dumps(request))
        response = connection.getresponse()
        answer = json.loads(response.read())
        connection.close()
        return response.status, answer

    def stats(self, model: str) -> dict[str, Any]:
        """Return the counters when nothing is under way."""
        until(lambda: self.engine.stats(model)[0]["inflight_requests"] == 0, "all is counted")
        return self.engine.stats(model)[0]

    def counts(self, model: str) -> tuple[int, int]:
        """Requests that were answered, and that failed; by the counters and by what is made of them."""
        stats = self.stats(model)
        told = (stats["inference_stats"]["success"]["count"], stats["inference_stats"]["fail"]["count"])
        assert told == (stats["requests_ok"], stats["requests_failed"])
        return told


@pytest.fixture(params=["plain", "cached"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shared]:
    head = "instances = 1\n" + ("[cache]\n" if request.param == "cached" else "")
    add_python(tmp_path, "gated", GATED, head=head, tensors=_TENSORS)
    add_pipeline(tmp_path, "chain", _CHAIN)
    memory = _core.SharedMemory([PREFIX], [os.getuid()], 8, 1 << 30, 1 << 30, False)
    with (
        falaj.Engine(tmp_path, cores=2, strict=True) as engine,
        WireServing(engine, shared_memory=memory) as wire,
        SharedFile(2 * _BYTES) as file,
    ):
        memory.register("r", file.key, 0, 2 * _BYTES)
        gated = sys.modules["falaj_test_gate"]
        yield Shared(engine, file, gated, wire.ports["http"], memory)
        gated.gate.set()
        memory.unregister_all()


cached = pytest.mark.parametrize("shared", ["cached"], indirect=True)
both = pytest.mark.parametrize("model", ["gated", "chain"])


@cached
@both
def test_answer_is_kept_for_what_was_asked_when_the_client_changes_it_meanwhile(
    shared: Shared, model: str
) -> None:
    shared.file.put(_ONES)
    with ThreadPoolExecutor(2) as pool:
        busy = pool.submit(shared.engine.infer, "gated", {"x": 3 * _ONES})
        assert shared.gated.started.wait(60)
        asked = pool.submit(shared.ask, model)
        until(lambda: shared.engine.stats("gated")[0]["waiting_requests"] == 1, "it has been looked up")
        shared.file.put(_TWOS)
        shared.gated.gate.set()
        assert (asked.result(60)[0], busy.result(60)["y"][0, 0]) == (200, 3)
    for x in (_ONES, _TWOS):
        np.testing.assert_array_equal(shared.engine.infer(model, {"x": x})["y"], x)
    stats = shared.stats("gated")
    assert (stats["cache_hits"], stats["cache_misses"], stats["cache_skipped"]) == (1, 3, 0)


@cached
@both
def test_answer_is_written_where_it_is_wanted_when_it_was_kept(shared: Shared, model: str) -> None:
    shared.gated.gate.set()
    shared.file.put(_TWOS)
    output = {"name": "y", "parameters": place("r", _BYTES, _BYTES)}
    for _ in range(2):
        shared.file.put(bytes(_BYTES), _BYTES)
        assert shared.ask(model, output)[0] == 200
        np.testing.assert_array_equal(shared.file.array(np.float32, (1, _WIDE), _BYTES), _TWOS)
        shared.file.put(_ONES, _BYTES)  # which is not what is kept
    np.testing.assert_array_equal(shared.engine.infer(model, {"x": _TWOS})["y"], _TWOS)
    assert shared.stats("gated")["cache_hits"] == 2
    assert shared.counts(model) == (3, 0)


@both
def test_request_is_counted_as_failed_when_its_file_was_cut_meanwhile(shared: Shared, model: str) -> None:
    shared.file.put(_ONES)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(shared.ask, model)
        assert shared.gated.started.wait(60)
        shared.file.cut(0)
        shared.gated.gate.set()
        status, answer = asked.result(60)
    assert (status, "was cut shorter" in answer["error"]) == (400, True)
    assert shared.counts(model) == (0, 1)
    stats = shared.stats(model)
    assert stats["inference_stats"]["fail"]["ns"] > 0
    assert stats["since_answer_ns"] is None


@both
def test_request_is_counted_as_failed_when_its_place_is_too_small(shared: Shared, model: str) -> None:
    shared.gated.gate.set()
    status, answer = shared.ask(model, {"name": "y", "parameters": place("r", 8, _BYTES)})
    assert (status, "should be at least" in answer["error"]) == (400, True)
    assert shared.counts(model) == (0, 1)
    assert shared.ask(model)[0] == 200
    assert shared.counts(model) == (1, 1)


@cached
def test_each_is_counted_by_its_own_answer_when_requests_share_a_run(shared: Shared) -> None:
    output = {"name": "y", "parameters": place("s", _BYTES)}
    with SharedFile(_BYTES) as cut, ThreadPoolExecutor(2) as pool:
        shared.memory.register("s", cut.key, 0, _BYTES)
        first = pool.submit(shared.ask, "gated")
        assert shared.gated.started.wait(60)
        second = pool.submit(shared.ask, "gated", output)
        until(lambda: shared.engine.stats("gated")[0]["cache_joined"] == 1, "the second waits")
        cut.cut(0)
        shared.gated.gate.set()
        assert (first.result(60)[0], second.result(60)[0]) == (200, 400)
    assert shared.counts("gated") == (1, 1)


def test_phases_are_counted_when_answers_are_written_to_shared_memory(shared: Shared) -> None:
    shared.gated.gate.set()
    assert shared.ask("gated", {"name": "y", "parameters": place("r", _BYTES, _BYTES)})[0] == 200
    stats = shared.stats("gated")
    phases = stats["inference_stats"]
    parts = ("queue", "compute_input", "compute_infer", "compute_output")
    assert {phases[part]["count"] for part in parts} == {1}
    assert min(phases[part]["ns"] for part in parts[2:]) > 0
    assert sum(phases[part]["ns"] for part in parts) <= phases["success"]["ns"]
    assert stats["since_answer_ns"] is not None

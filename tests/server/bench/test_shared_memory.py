"""Tensors in shared memory: where they come to lie, and what is left of them."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from falaj import _core
from falaj._core import InvalidInput, Unavailable
from falaj.server.bench.asked import prepare
from falaj.server.bench.inputs import inputs_of
from falaj.server.bench.load import Load
from falaj.server.bench.measure import Progress, measure
from falaj.server.bench.measured import Measured
from falaj.server.bench.sequences import Sequences
from falaj.server.bench.target import Target
from falaj.server.tensors import Tensor
from tests.engine.sequence_models import add_sum
from tests.server.bench.conftest import quick_model
from tests.server.bench.stalling_server import good, stalling_server
from tests.server.command_line import Run
from tests.server.serving_process import Serving
from tests.serving import QUICK, add_model
from tests.wire.sharing import WIDE, large
from tests.zoo import elementwise

pytestmark = pytest.mark.core


@pytest.fixture(scope="module")
def sharing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server that allows shared memory."""
    folder = tmp_path_factory.mktemp("sharing")
    for model in (large(), elementwise("BYTES")):
        add_model(folder / "models", model, QUICK)
    add_sum(folder / "models", sequence="idle_timeout_ms = 600000")
    with Serving(folder, "--allow-shared-memory") as server:
        yield server


def _url(server: Serving, protocol: str) -> str:
    return f"{protocol}://127.0.0.1:{server.ready[protocol]}"


def _quick(target: Target, load: Load, **more: Any) -> Measured:
    settings: dict[str, Any] = {"warm_up_s": 0.05, "window_s": 0.15, "max_windows": 2, **more}
    return measure(target, load, **settings)


def _regions(server: Serving) -> list[dict[str, Any]]:
    """What the server knows, and files that are there, of this process."""
    status, _, answer = server.ask("GET", "/v2/systemsharedmemory/status")
    assert status == 200
    known: list[dict[str, Any]] = json.loads(answer)
    return known


def _files() -> list[Path]:
    return list(Path("/dev/shm").glob(f"falaj_bench_{os.getpid()}_*"))  # others may measure too


def _is_clean(server: Serving) -> bool:
    return _regions(server) == [] and _files() == []


@pytest.mark.parametrize("load", [Load.closed(5), Load.open(200, connections=8)], ids=["closed", "open"])
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_nothing_is_left_when_shared_memory_is_measured(sharing: Serving, protocol: str, load: Load) -> None:
    target = Target(_url(sharing, protocol), "large", batch_size=2, shared_memory=True)
    regions: list[int] = []
    measured = _quick(target, load, progress=lambda _: regions.append(len(_regions(sharing))))
    assert measured.errors == {}
    assert measured.answered > 0
    assert set(regions) == {2}
    assert _is_clean(sharing)


@pytest.mark.parametrize(("protocol", "streams"), [("http", 1), ("grpc", 1), ("grpc", 2)])
def test_each_slot_has_its_answers_when_several_are_under_way(
    sharing: Serving, protocol: str, streams: int
) -> None:
    target = Target(_url(sharing, protocol), "large", batch_size=2, shared_memory=True)
    inputs = inputs_of(target, [Tensor("x", "FP32", (-1, WIDE))])
    given = {(-array).tobytes() for one in inputs for _, array in one.values()}
    size, slots = 2 * WIDE * 4, 5
    with prepare(target, slots=slots) as asked:
        (out,) = [path for path in _files() if path.name.endswith("_out")]
        slot_bytes = out.stat().st_size // slots
        assert (
            out.read_bytes()[:size] == (-inputs[0]["x"][1]).tobytes()
        )  # of the request that is asked before
        options = {"pace": "closed", "rate": 0.0, "concurrency": slots, "streams": streams, "threads": 2}
        options |= {"warm_up": 0.0, "window": 0.1, "timeout": 10.0}
        run = _core.LoadRun(asked.native, options)
        assert run.next(10) is not None
        assert run.stop(10)["errors"] == {}
        content = out.read_bytes()
        for slot in range(slots):
            assert content[slot * slot_bytes : slot * slot_bytes + size] in given
            top = np.frombuffer(content[slot * slot_bytes + size :][:16], np.int64)
            assert ((top >= 0) & (top < WIDE)).all()
    assert _is_clean(sharing)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_strings_are_shared_when_their_sizes_are_not_known(sharing: Serving, protocol: str) -> None:
    target = Target(_url(sharing, protocol), elementwise("BYTES").name, shared_memory=True)
    assert _quick(target, Load.closed(2)).errors == {}


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_sequences_are_shared_too_when_asked(sharing: Serving, protocol: str) -> None:
    target = Target(_url(sharing, protocol), "sum", shared_memory=True, sequences=Sequences(4))
    measured = _quick(target, Load.closed(3))
    assert measured.errors == {}
    assert measured.sequences_per_s
    assert measured.sequences_left == 0
    assert _is_clean(sharing)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_nothing_is_left_when_a_measurement_is_broken_off(sharing: Serving, protocol: str) -> None:
    def interrupt(progress: Progress) -> None:
        assert len(_files()) == 2
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _quick(
            Target(_url(sharing, protocol), "large", shared_memory=True), Load.closed(2), progress=interrupt
        )
    assert _is_clean(sharing)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_reason_is_told_when_an_output_has_no_room(sharing: Serving, protocol: str) -> None:
    target = Target(_url(sharing, protocol), "large", shared_memory=True, output_bytes=100)
    with pytest.raises(Unavailable, match=r"output 'y'.*100 bytes"):
        _quick(target, Load.closed(2))
    assert _is_clean(sharing)


def test_option_is_named_when_the_server_does_not_allow_it(tmp_path: Path) -> None:
    quick_model(tmp_path / "models")
    with Serving(tmp_path) as server:
        for protocol in ("http", "grpc"):
            with pytest.raises(InvalidInput, match=r"--shared-memory: .*with --allow-shared-memory"):
                _quick(Target(_url(server, protocol), "mlp", shared_memory=True), Load.closed(1))
    assert _files() == []


def test_prefix_is_named_when_the_server_wants_another(tmp_path: Path) -> None:
    quick_model(tmp_path / "models")
    flags = ("--allow-shared-memory", "--set", "shared_memory.prefix=other_")
    complaint = pytest.raises(InvalidInput, match=r"does not take /falaj_bench_.*shared_memory\.prefix")
    with Serving(tmp_path, *flags) as server, complaint:
        _quick(Target(_url(server, "http"), "mlp", shared_memory=True), Load.closed(1))
    assert _files() == []


def test_measurement_is_refused_when_the_outputs_are_not_told() -> None:
    with stalling_server(good) as server, pytest.raises(InvalidInput, match=r"does not say.*outputs"):
        _quick(Target(server.url, "m", shared_memory=True), Load.closed(1))


def test_measurement_is_refused_when_more_is_under_way_than_was_prepared_for(sharing: Serving) -> None:
    from falaj.server.bench.measure import measure_asked

    target = Target(_url(sharing, "http"), "large", shared_memory=True)
    with prepare(target, slots=2) as asked, pytest.raises(InvalidInput, match="expected at most 2 requests"):
        measure_asked(
            asked, Load.closed(3), warm_up_s=0, window_s=0.1, max_windows=1, stability=1, progress=None
        )
    assert _is_clean(sharing)


def test_report_says_so_when_tensors_are_shared(sharing: Serving, run: Run) -> None:
    arguments = ["large", "--shared-memory", "system", "--warm-up", "0.02", "--window", "0.05"]
    arguments += ["--max-windows", "1", "--concurrency", "1,3"]
    code, out, err = run(_url(sharing, "grpc"), *arguments)
    assert (code, err) == (0, "")
    assert out.splitlines()[0].endswith(" large, shared memory: µs")
    assert _is_clean(sharing)

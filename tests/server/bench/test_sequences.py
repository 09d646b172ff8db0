"""Sequences: what servers are asked, and what a stateful model of a real one is left with."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import falaj
from falaj._core import InvalidInput
from falaj.server.bench.load import Load
from falaj.server.bench.measure import Progress, measure
from falaj.server.bench.measured import Measured
from falaj.server.bench.sequences import Sequences
from falaj.server.bench.target import Target
from tests import zoo
from tests.engine.sequence_models import add_sum
from tests.server.bench.recorder import Recorder
from tests.server.bench.stalling_server import stalling_server
from tests.server.command_line import Run
from tests.server.wire_serving import WireServing
from tests.serving import add_model

pytestmark = pytest.mark.core

_METADATA = (
    b'{"name":"m","versions":["1"],"platform":"x","outputs":[],'
    b'"inputs":[{"name":"x","datatype":"FP32","shape":[-1,1]}]}'
)
_CLOSED, _OPEN = Load.closed(6), Load.open(400, connections=16)
Serve = tuple[falaj.Engine, WireServing]


@pytest.fixture(scope="module")
def stateful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """A server with the stateful `sum`, `few`, which keeps two sequences, and `mlp`, which keeps nothing."""
    folder = tmp_path_factory.mktemp("stateful")
    add_sum(folder, sequence="idle_timeout_ms = 600000")
    add_sum(folder, "few", sequence="idle_timeout_ms = 600000\nmax_sequences = 2")
    add_model(folder, zoo.mlp())
    with falaj.Engine(folder) as engine, WireServing(engine, access_log_per_million=0) as serving:
        yield engine, serving


def _target(stateful: Serve, protocol: str, model: str = "sum", **more: Any) -> Target:
    # Inputs that the server fills by itself are no part of a request.
    return Target(f"{protocol}://{stateful[1].url(protocol)}", model, **more)


def _stats(stateful: Serve, model: str = "sum") -> dict[str, Any]:
    return stateful[0].stats(model)[0]


def _quick(target: Target, load: Load, **more: Any) -> Measured:
    settings: dict[str, Any] = {"warm_up_s": 0.05, "window_s": 0.2, "max_windows": 2, **more}
    return measure(target, load, **settings)


@pytest.mark.parametrize(
    "load", [_CLOSED, _OPEN, Load.closed(5, threads=2)], ids=["closed", "open", "threads"]
)
@pytest.mark.parametrize(("protocol", "form"), [("http", "json"), ("http", "binary"), ("grpc", "auto")])
def test_nothing_is_left_when_a_stateful_model_is_measured(
    stateful: Serve, protocol: str, form: Any, load: Load
) -> None:
    before = _stats(stateful)
    target = _target(stateful, protocol, form=form, sequences=Sequences(5))
    measured = _quick(target, load)
    after = _stats(stateful)
    assert measured.errors == {}
    assert measured.sequences_left == 0
    assert after["sequences_live"] == 0
    assert measured.sequences_per_s is not None
    assert measured.sequences_per_s == pytest.approx(measured.throughput / 5, rel=0.5)
    begun = after["sequences_begun"] - before["sequences_begun"]
    assert begun > 3
    assert after["sequences_ended_idle"] == before["sequences_ended_idle"]


def test_calls_of_one_connection_have_sequences_of_their_own_when_streams_are_told(stateful: Serve) -> None:
    measured = _quick(_target(stateful, "grpc", sequences=Sequences(3)), Load.closed(8, streams=4))
    assert measured.errors == {}
    assert _stats(stateful)["sequences_live"] == 0


@pytest.mark.parametrize("load", [Load.closed(7, threads=2), Load.open(900, connections=16, threads=2)])
def test_requests_of_a_sequence_follow_each_other_when_asked(load: Load) -> None:
    recorder = Recorder()
    sequences = Sequences(4, 0.5, first_id=100, last_id=10**6, live=5)
    with stalling_server(recorder, metadata=_METADATA) as server:
        recorder.server = server
        measured = _quick(Target(server.url, "m", form="json", sequences=sequences), load)
    assert measured.errors == {}
    assert recorder.problems == []
    assert 1 < recorder.most_live <= (7 if load.arrivals == "closed" else 5)
    first = recorder.seen[
        100
    ]  # the request that is asked before, a sequence of its own, and the load's first
    assert first[0] == (True, True)
    recorder.seen[100] = first[1:]
    for of, flags in recorder.seen.items():
        assert of >= 100
        assert [start for start, _ in flags] == [True, *[False] * (len(flags) - 1)]
        assert [end for _, end in flags] == [*[False] * (len(flags) - 1), True]
        assert 2 <= len(flags) <= 6


def test_another_sequence_begins_and_all_are_ended_when_requests_fail() -> None:
    recorder = Recorder(status=dict.fromkeys(range(5, 1000, 7), 500))
    with stalling_server(recorder, metadata=_METADATA) as server:
        recorder.server = server
        target = Target(server.url, "m", form="json", sequences=Sequences(10, 0.0, first_id=2))
        measured = _quick(target, Load.closed(3))
    assert measured.errors.keys() == {"http 500"}
    assert recorder.problems == []
    ends = [flags[-1][1] for flags in recorder.seen.values()]
    # One that ended a sequence may have failed itself, as the last that is tried.
    assert ends.count(False) == 0
    starts = [flags[0][0] for flags in recorder.seen.values()]
    assert all(starts)
    assert max(map(len, recorder.seen.values())) <= 10 + 2  # the request before, and the one that ends


def test_refused_starts_are_errors_when_the_server_keeps_no_more(stateful: Serve) -> None:
    measured = _quick(_target(stateful, "http", "few", sequences=Sequences(50)), Load.closed(4))
    assert measured.errors.keys() == {"http 503"}
    assert measured.answered > 0
    assert measured.sequences_left == 0
    assert _stats(stateful, "few")["sequences_live"] == 0


@pytest.mark.parametrize("load", [_CLOSED, _OPEN], ids=["closed", "open"])
def test_sequences_are_ended_when_a_measurement_is_broken_off(stateful: Serve, load: Load) -> None:
    live: list[int] = []

    def interrupt(progress: Progress) -> None:
        if progress.phase == "window":
            live.append(_stats(stateful)["sequences_live"])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _quick(_target(stateful, "grpc", sequences=Sequences(10**6)), load, progress=interrupt)
    assert live == [6 if load is _CLOSED else 4]
    assert _stats(stateful)["sequences_live"] == 0


def test_sequences_are_told_of_when_they_cannot_be_ended() -> None:
    recorder = Recorder()
    with stalling_server(recorder, metadata=_METADATA) as server:
        recorder.server = server

        def close(progress: Progress) -> None:
            if progress.windows:
                server.close()

        target = Target(server.url, "m", form="json", sequences=Sequences(10**6))
        measured = _quick(target, Load.closed(3), progress=close)
    assert measured.sequences_left == 3
    assert measured.errors


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize(
    ("model", "more", "complaint"),
    [
        (
            "sum",
            {},
            r"the model is stateful \(its configuration has sequence_batching\).*--sequence-length N",
        ),
        ("mlp", {"sequences": Sequences(5)}, "--sequence-length: the model is not stateful"),
        (
            "sum",
            {"sequences": Sequences(5), "parameters": {"sequence_id": 7}},
            "--parameter sequence_id: is told by --sequence-length",
        ),
        ("sum", {"sequences": Sequences(5, last_id=3)}, "ids of sequences: expected at least 6.*got 3"),
        ("sum", {"sequences": Sequences(0)}, "length of sequences: expected at least 1"),
    ],
)
def test_measurement_is_refused_when_sequences_make_no_sense(
    stateful: Serve, protocol: str, model: str, more: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        _quick(_target(stateful, protocol, model, **more), _CLOSED)


def test_sequence_is_the_users_when_its_parameters_are_told(stateful: Serve) -> None:
    whole = {"sequence_id": 7, "sequence_start": True, "sequence_end": True}
    measured = _quick(_target(stateful, "http", parameters=whole), Load.closed(1))
    assert measured.errors == {}
    assert measured.sequences_per_s is None


def test_figures_of_sequences_are_reported_when_they_are_on(
    stateful: Serve, run: Run, tmp_path: Path
) -> None:
    arguments = [f"http://{stateful[1].url()}", "sum", "--sequence-length", "4", "--warm-up", "0.02"]
    arguments += ["--window", "0.1", "--max-windows", "2"]
    more = [
        "--sequence-length-variation",
        "0",
        "--sequence-ids",
        "5:500",
        "--csv",
        "r.csv",
        "--html",
        "r.html",
    ]
    code, out, err = run(*arguments, *more)
    assert (code, err) == (0, "")
    assert out.splitlines()[1].split()[:3] == ["load", "req/s", "seq/s"]
    head, row = ((line.split(",")) for line in (tmp_path / "r.csv").read_text().splitlines())
    assert float(dict(zip(head, row, strict=True))["sequences_per_s"]) > 0
    page = (tmp_path / "r.html").read_text()
    assert "<th>sequences/s</th>" in page
    assert "<td>sequence_ids</td><td>5:500</td>" in page
    code, out, _ = run(*arguments, "--rate", "200", "--sequences", "2", "--json")
    report = json.loads(out)
    assert code == 0
    assert report["points"][0]["sequences_per_s"] > 0
    assert report["settings"]["sequences"] == 2

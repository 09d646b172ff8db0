"""Measurements of a real server: every protocol, form and loop, and what is refused before one begins."""

import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from falaj import _core
from falaj._core import InvalidInput, NotFound, Unavailable
from falaj.server.bench.load import Load
from falaj.server.bench.measure import Progress, measure
from falaj.server.bench.measured import Measured
from falaj.server.bench.target import Target
from tests.certificates import Authority
from tests.server.bench.conftest import quick_model, url_of
from tests.server.serving_process import Serving, until
from tests.server.wire_serving import WireServing

pytestmark = pytest.mark.core


def quick(target: Target, load: Load, **more: Any) -> Measured:
    """Measure two short windows, whatever they are like."""
    settings: dict[str, Any] = {"warm_up_s": 0.05, "window_s": 0.15, "max_windows": 2, **more}
    return measure(target, load, **settings)


def served_count(served: WireServing, protocol: str) -> int:
    """How many infer requests the server itself has answered well."""
    counts: dict[str, int] = served._wire.stats()[protocol]
    return counts["ok"]


@pytest.mark.parametrize(
    "load",
    [
        Load.closed(1),
        Load.closed(8),
        Load.closed(5, threads=2),
        Load.open(300),
        Load.open(300, arrivals="constant", threads=3, connections=8),
    ],
    ids=["one", "eight", "two-threads", "poisson", "constant"],
)
@pytest.mark.parametrize(
    ("protocol", "form"), [("http", "json"), ("http", "binary"), ("http", "auto"), ("grpc", "auto")]
)
def test_figures_agree_when_a_server_is_measured(
    served: WireServing, protocol: str, form: Any, load: Load
) -> None:
    measured = quick(Target(url_of(served, protocol), "mlp", form=form, batch_size=2), load)
    assert measured.errors == {}
    assert len(measured.windows) == 2
    assert not measured.stable
    assert sum(window.answered for window in measured.windows) <= measured.answered
    seconds = sum(window.seconds for window in measured.windows)
    assert measured.throughput == pytest.approx(sum(w.answered for w in measured.windows) / seconds)
    assert 0 < measured.p50_us <= measured.p90_us <= measured.p99_us <= measured.p999_us <= measured.max_us
    assert 0 < measured.mean_us <= measured.max_us
    assert measured.client_cpu_us_per_request > 0
    assert measured.server is not None
    assert measured.server.requests > 0
    assert measured.server.mean_batch >= 2
    assert measured.server.compute_infer_us > 0
    assert (measured.late_p99_us > 0) == (load.arrivals != "closed")


def test_calls_share_connections_when_streams_are_told(served: WireServing) -> None:
    before = served._wire.stats()["grpc"]["connections_opened"]
    measured = quick(Target(url_of(served, "grpc"), "mlp"), Load.closed(7, streams=3))
    after = served._wire.stats()["grpc"]["connections_opened"]
    assert measured.errors == {}
    # 3 of the load; each question before and between takes one of its own: metadata, the configuration, a
    # request, statistics.
    assert after - before == 3 + 3 + 3


def test_every_answer_is_counted_once_when_the_server_counts_too(served: WireServing, url: str) -> None:
    protocol = url.partition(":")[0]
    target = Target(url, "mlp")
    before = served_count(served, protocol)
    run = _run(target, Load.closed(6, threads=2), warm_up=0.0)
    windows = [run.next(10) for _ in range(3)]
    rest = run.stop(5)
    answered = sum(window["answered"] for window in windows if window is not None) + rest["answered"]
    # The warm-up, of no length, is in no window.
    assert 0 <= served_count(served, protocol) - before - answered <= 12
    assert all(window is not None and window["errors"] == {} for window in windows)


def _run(target: Target, load: Load, warm_up: float) -> _core.LoadRun:
    from falaj.server.bench.asked import prepare

    options = {"pace": load.arrivals, "rate": load.rate, "concurrency": load.concurrency}
    options |= {"streams": load.streams, "threads": load.threads, "warm_up": warm_up}
    return _core.LoadRun(prepare(target).native, {**options, "window": 0.1, "timeout": 5.0})


def test_windows_end_early_when_they_are_alike(served: WireServing) -> None:
    told: list[Progress] = []
    measured = quick(
        Target(url_of(served, "http"), "mlp"),
        Load.open(200, arrivals="constant"),
        max_windows=50,
        stability=5.0,
        progress=told.append,
    )
    assert measured.stable
    assert len(measured.windows) == 3
    assert {progress.phase for progress in told} == {"warm-up", "window"}
    assert measured.throughput == pytest.approx(200, rel=0.3)


def test_measurement_ends_when_progress_raises(served: WireServing) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.phase == "window":
            raise KeyboardInterrupt

    threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        quick(Target(url_of(served, "http"), "mlp"), Load.closed(2), max_windows=1000, progress=interrupt)
    assert threading.active_count() == threads


@pytest.mark.parametrize(
    ("more", "load", "error", "complaint"),
    [
        ({"model": "nope"}, Load.closed(1), NotFound, "nope"),
        ({"version": "7"}, Load.closed(1), NotFound, "7"),
        ({"shapes": {"x": (3, 3)}}, Load.closed(1), InvalidInput, "expected a shape that fits it"),
        ({}, Load.closed(0), InvalidInput, "concurrency: expected 1 to 65536, got 0"),
        ({}, Load.closed(1, threads=0), InvalidInput, "threads: expected 1 to 65536"),
        ({}, Load.open(-1.0), InvalidInput, "rate: expected above 0"),
        ({"timeout_s": 0.0}, Load.closed(1), Unavailable, "no answer in time"),
        ({"parameters": {"timeout": "x"}}, Load.closed(1), Unavailable, "timeout"),
        ({"headers": (("a b", "c"),)}, Load.closed(1), InvalidInput, "header 'a b'"),
        ({"headers": (("a", "c\r\nd: e"),)}, Load.closed(1), InvalidInput, "header 'a'"),
    ],
)
def test_measurement_is_refused_when_it_makes_no_sense(
    url: str, more: dict[str, Any], load: Load, error: type[Exception], complaint: str
) -> None:
    with pytest.raises(error, match=complaint):
        quick(Target(**{"url": url, "model": "mlp", **more}), load)


def test_measurement_is_refused_when_http_is_to_have_streams(served: WireServing) -> None:
    with pytest.raises(InvalidInput, match="streams: expected 1 with HTTP"):
        quick(Target(url_of(served, "http"), "mlp"), Load.closed(4, streams=2))


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "grpc://127.0.0.1:1"])
def test_reason_is_told_when_nobody_listens(url: str) -> None:
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1: Connection refused"):
        quick(Target(url, "mlp"), Load.closed(1))


@pytest.mark.parametrize("url", ["ftp://h:1", "h:1", "http://", "grpc://h", "grpc://h:1/p", "http://h:1?q"])
def test_url_is_refused_when_it_is_none_of_a_server(url: str) -> None:
    with pytest.raises(InvalidInput, match="expected http://, https://, grpc:// or grpcs://"):
        quick(Target(url, "mlp"), Load.closed(1))


def test_other_protocol_is_told_when_a_port_speaks_it(served: WireServing) -> None:
    for url in (f"http://{served.url('grpc')}", f"grpc://{served.url('http')}"):
        with pytest.raises(Unavailable):
            quick(Target(url, "mlp"), Load.closed(1))


def test_errors_are_counted_when_the_server_is_killed(tmp_path: Path) -> None:
    quick_model(tmp_path / "models")
    with Serving(tmp_path) as server:
        target = Target(f"http://127.0.0.1:{server.ready['http']}", "mlp")

        def kill(progress: Progress) -> None:
            if len(progress.windows) == 1 and not server.has_ended():
                server.send(signal.SIGKILL)
                until(server.has_ended, "it was killed")

        begin = time.monotonic()
        measured = quick(target, Load.closed(4), max_windows=100, progress=kill)
    assert time.monotonic() - begin < 30
    assert measured.windows[0].answered > 0
    assert measured.windows[-1].answered == 0
    assert measured.errors.keys() & {"closed", "reset"}
    assert "Connection refused" in measured.error_texts["connect"]
    assert not measured.stable


def test_tls_is_spoken_when_the_url_says_so(tmp_path: Path) -> None:
    quick_model(tmp_path / "models")
    authority = Authority(tmp_path)
    own = authority.issue("server")
    config = tmp_path / "falaj.toml"
    config.write_text(f'[tls]\ncertificate = "{own.certificate}"\nkey = "{own.key}"\n', encoding="utf-8")
    ca_file = str(authority.certificate)
    with Serving(tmp_path, "--config", str(config)) as server:
        for scheme, port in (("https", server.ready["http"]), ("grpcs", server.ready["grpc"])):
            for host in ("localhost", "127.0.0.1"):
                target = Target(f"{scheme}://{host}:{port}", "mlp", ca_file=ca_file)
                measured = quick(target, Load.closed(3), max_windows=1)
                assert measured.errors == {}
                assert measured.answered > 0
            with pytest.raises(Unavailable, match="certificate"):
                quick(Target(f"{scheme}://localhost:{port}", "mlp"), Load.closed(1))
    with pytest.raises(InvalidInput, match="cannot be used"):
        quick(Target("https://localhost:1", "mlp", ca_file=str(config)), Load.closed(1))

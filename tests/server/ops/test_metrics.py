"""The page of metrics says what the engine has done, under the names that dashboards expect."""

import http.client
import json
import math
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

import falaj
from falaj import _core
from falaj.server.ops.buckets import ROW_LADDER, TIME_LADDER, row_buckets, time_buckets
from falaj.server.ops.machine_metrics import Gpus, Machine
from falaj.server.ops.metrics import MetricsCollector
from tests import zoo
from tests.server.serving_process import until
from tests.serving import GATED, QUICK, add_model, add_python, x_of

pytestmark = pytest.mark.core

# Files, and a machine that others use too: how long an example takes says nothing.
_UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
_FACTS = Path(__file__).parents[3] / "docs" / "metrics.md"
_OPENMETRICS = "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
_PHASES = ("queue", "compute_input", "compute_infer", "compute_output")
_ROWS = {"x": np.zeros((3, 32), dtype=np.float32)}
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def _collector(engine: falaj.Engine, **options: bool) -> MetricsCollector:
    """Metrics of an engine behind a front end that nobody asked anything."""
    return MetricsCollector(engine, _core.WireServer(engine.runtime, {}), **options)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[falaj.Engine]:
    add_model(tmp_path, zoo.mlp(), QUICK)
    add_model(tmp_path, zoo.tokens(), QUICK)
    with falaj.Engine(tmp_path, cores=2, strict=True) as engine:
        yield engine


def _settled(engine: falaj.Engine, model: str) -> None:
    """Wait until all is counted: a batch's last phase ends after its clients have their answers."""
    until(lambda: engine.stats(model)[0]["inflight_requests"] == 0, "all batches have ended")


def _families(collector: MetricsCollector, accept: str = "") -> dict[str, Metric]:
    page, content_type = collector.render(accept)
    openmetrics = content_type.startswith("application/openmetrics-text")
    parse = parse_openmetrics if openmetrics else parse_text
    return {family.name: family for family in parse(page.decode("utf-8"))}


def _samples(collector: MetricsCollector, accept: str = "") -> Samples:
    found: Samples = {}
    for family in _families(collector, accept).values():
        for sample in family.samples:
            # The parser gives every counter the ending that OpenMetrics wants; those names have it nowhere.
            name = sample.name.removesuffix("_total") if sample.name.startswith("nv_") else sample.name
            key = name, frozenset(sample.labels.items())
            assert key not in found, f"{key} is there twice"
            found[key] = sample.value
    return found


def _get(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


@pytest.mark.parametrize("accept", ["", _OPENMETRICS])
def test_page_counts_what_was_asked_when_models_answer(engine: falaj.Engine, accept: str) -> None:
    for _ in range(4):
        engine.infer("mlp", _ROWS)
    engine.infer_many("mlp", [_ROWS] * 6)
    with pytest.raises(falaj.InvalidInput):
        engine.infer("mlp", {"x": np.zeros((1, 31), dtype=np.float32)})
    with pytest.raises(falaj.DeadlineExceeded):
        engine.infer("mlp", _ROWS, timeout=0)
    _settled(engine, "mlp")
    samples = _samples(_collector(engine), accept)
    [stats] = engine.stats("mlp")
    mlp = {"model": "mlp", "version": "1"}
    assert _get(samples, "nv_inference_request_success", **mlp) == 10
    assert _get(samples, "nv_inference_count", **mlp) == 30
    assert _get(samples, "nv_inference_exec_count", **mlp) == stats["execution_count"]
    told = stats["inference_stats"]
    duration = _get(samples, "nv_inference_request_duration_us", **mlp)
    assert duration == told["success"]["ns"] // 1000 > 0
    for phase in _PHASES:
        assert _get(samples, f"nv_inference_{phase}_duration_us", **mlp) == told[phase]["ns"] // 1000
    reasons = {"REJECTED": 1, "CANCELED": 0, "BACKEND": 0, "OTHER": 1}
    for reason, count in reasons.items():
        assert _get(samples, "nv_inference_request_failure", **mlp, reason=reason) == count
    assert _get(samples, "nv_inference_pending_request_count", **mlp) == 0
    assert _get(samples, "nv_model_load_duration_secs", **mlp) == stats["load_seconds"]
    assert _get(samples, "falaj_model_bytes", **mlp) == stats["model_bytes"]
    assert _get(samples, "falaj_buffer_bytes", **mlp) == stats["buffer_bytes"]
    assert _get(samples, "nv_inference_request_success", model="tokens", version="1") == 0


def test_histograms_equal_the_engines_when_models_answer(engine: falaj.Engine) -> None:
    engine.infer_many("mlp", [_ROWS] * 50)
    _settled(engine, "mlp")
    samples = _samples(_collector(engine))
    [stats] = engine.stats("mlp")
    mlp = {"model": "mlp", "version": "1"}
    for name, key, total in (
        ("request", "request_ns_histogram", "request_ns"),
        ("queue", "queue_ns_histogram", "queue_ns"),
        ("compute", "run_ns_histogram", "run_ns"),
    ):
        full = f"falaj_{name}_seconds"
        assert _get(samples, f"{full}_sum", **mlp) == pytest.approx(stats[total] / 1e9)
        for bound, count in time_buckets(stats[key]):
            assert _get(samples, f"{full}_bucket", **mlp, le=bound) == count
    assert _get(samples, "falaj_request_seconds_count", **mlp) == 50
    assert _get(samples, "falaj_batch_rows_count", **mlp) == stats["execution_count"]
    assert _get(samples, "falaj_batch_rows_sum", **mlp) == 150


def test_failures_are_the_backends_when_the_model_fails(tmp_path: Path) -> None:
    add_model(tmp_path, zoo.gather_bad_index(), QUICK)
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine:
        with pytest.raises(falaj.Error):
            engine.infer("gather_bad_index", {"index": np.array([[99]], dtype=np.int64)})
        samples = _samples(_collector(engine))
    labels = {"model": "gather_bad_index", "version": "1"}
    assert _get(samples, "nv_inference_request_failure", **labels, reason="BACKEND") == 1
    assert _get(samples, "nv_inference_request_success", **labels) == 0
    assert _get(samples, "falaj_request_seconds_count", **labels) == 0


def test_pending_and_oldest_batch_are_told_when_a_batch_is_under_way(tmp_path: Path) -> None:
    add_python(tmp_path, "gated", GATED, head="max_batch_size = 4")
    labels = {"model": "gated", "version": "1"}
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine:
        module = sys.modules.pop("falaj_test_gate")
        asking = [threading.Thread(target=engine.infer, args=("gated", x_of(1))) for _ in range(3)]
        try:
            asking[0].start()
            assert module.started.wait(30)
            for thread in asking[1:]:
                thread.start()
            pause = threading.Event()
            while engine.stats("gated")[0]["waiting_requests"] < 2:
                pause.wait(0.01)
            samples = _samples(_collector(engine))
        finally:
            module.gate.set()
            for thread in asking:
                thread.join()
        assert _get(samples, "nv_inference_pending_request_count", **labels) == 2
        assert _get(samples, "falaj_oldest_batch_seconds", **labels) > 0


def test_cancelled_requests_are_told_when_clients_withdraw(tmp_path: Path) -> None:
    add_python(tmp_path, "gated", GATED, head="max_batch_size = 4")
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine:
        module = sys.modules.pop("falaj_test_gate")
        try:
            with pytest.raises(falaj.DeadlineExceeded):
                engine.infer("gated", x_of(1), timeout=0.1)
        finally:
            module.gate.set()
        samples = _samples(_collector(engine))
    labels = {"model": "gated", "version": "1"}
    assert _get(samples, "nv_inference_request_failure", **labels, reason="REJECTED") == 1


def _ask(port: int, columns: int) -> int:
    """Ask the model mlp for one row over HTTP; returns the status."""
    tensor = {"name": "x", "shape": [1, columns], "datatype": "FP32", "data": [0.0] * columns}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/v2/models/mlp/infer", json.dumps({"inputs": [tensor]}))
    status = connection.getresponse().status
    connection.close()
    return status


def test_front_end_is_told_when_it_has_worked(engine: falaj.Engine) -> None:
    wire = _core.WireServer(engine.runtime, {"http.max_body_bytes": 2000})
    port = wire.listen("http", "127.0.0.1", 0, None)
    wire.start()
    try:
        assert [_ask(port, columns) for columns in (32, 32, 32, 31, 1000)] == [200, 200, 200, 400, 413]
        pause = threading.Event()
        while wire.connections:
            pause.wait(0.01)
        samples = _samples(MetricsCollector(engine, wire))
        stats = wire.stats()["http"]
    finally:
        wire.close()
    http = {"protocol": "http"}
    assert _get(samples, "falaj_connections", **http) == 0
    assert _get(samples, "falaj_connections_opened_total", **http) == 5
    assert _get(samples, "falaj_wire_requests_total", **http) == stats["requests"] >= 4
    assert _get(samples, "falaj_wire_infer_requests_total", **http) == stats["infer_requests"] >= 4
    assert _get(samples, "falaj_wire_answers_total", **http, kind="ok") == 3
    assert _get(samples, "falaj_wire_answers_total", **http, kind="client_errors") == 2
    assert _get(samples, "falaj_wire_answers_total", **http, kind="server_errors") == 0
    assert _get(samples, "falaj_wire_refused_total", **http, reason="body_size") == 1
    assert _get(samples, "falaj_wire_refused_total", **http, reason="flood") == 0
    assert _get(samples, "falaj_wire_cancelled_total", **http) == 0
    assert _get(samples, "falaj_wire_read_bytes_total", **http) == stats["bytes_in"] > 0
    assert _get(samples, "falaj_wire_written_bytes_total", **http) == stats["bytes_out"] > 0
    assert _get(samples, "falaj_requests_in_flight") == 0
    assert _get(samples, "falaj_wire_buffered_bytes") == 0
    assert _get(samples, "falaj_access_log_dropped_total") == 0
    for phase in ("read", "decode", "wait", "encode", "request"):
        name = f"falaj_wire_{phase}_seconds"
        assert _get(samples, f"{name}_sum", **http) == stats[f"{phase}_ns_sum"] / 1e9
        for bound, count in time_buckets(stats[f"{phase}_ns"]):
            assert _get(samples, f"{name}_bucket", **http, le=bound) == count
        assert _get(samples, f"{name}_count", protocol="grpc") == 0
    assert _get(samples, "falaj_wire_encode_seconds_count", **http) == 3


def test_process_machine_and_build_are_told_when_asked(engine: falaj.Engine) -> None:
    samples = _samples(_collector(engine))
    assert _get(samples, "process_resident_memory_bytes") > 1 << 20
    assert _get(samples, "process_cpu_seconds_total") > 0
    assert _get(samples, "process_open_fds") > 2
    assert _get(samples, "process_start_time_seconds") > 1.6e9
    total = _get(samples, "nv_cpu_memory_total_bytes")
    assert 0 < _get(samples, "nv_cpu_memory_used_bytes") < total
    [build] = [labels for name, labels in samples if name == "falaj_build_info"]
    assert dict(build)["version"] == falaj.__version__
    assert re.fullmatch(r"1\.\d+\.\d+", dict(build)["onnxruntime"])


def test_counters_are_typed_for_each_format_when_rendered(engine: falaj.Engine) -> None:
    collector = _collector(engine)
    text, openmetrics = _families(collector), _families(collector, _OPENMETRICS)
    for name in ("nv_inference_count", "nv_inference_request_failure"):
        assert (text[name].type, openmetrics[name].type) == ("counter", "unknown")
    for accept in ("", _OPENMETRICS):
        page = collector.render(accept)[0].decode("utf-8")
        assert '\nnv_inference_count{model="mlp",version="1"} 0.0\n' in page
        assert not re.search(r"^(# \w+ )?nv_\w+_total\b", page, re.MULTILINE)
    assert text["nv_cpu_utilization"].type == "gauge"
    assert text["falaj_batch_rows"].type == openmetrics["falaj_batch_rows"].type == "histogram"
    assert openmetrics["falaj_queue_seconds"].unit == "seconds"
    assert all(family.documentation for family in (*text.values(), *openmetrics.values()))


def test_content_type_follows_accept_when_rendered(engine: falaj.Engine) -> None:
    collector = _collector(engine)
    assert collector.render()[1] == "text/plain; version=0.0.4; charset=utf-8"
    assert collector.render("*/*")[1] == "text/plain; version=0.0.4; charset=utf-8"
    page, content_type = collector.render(_OPENMETRICS)
    assert content_type.startswith("application/openmetrics-text; version=1.0.0; charset=utf-8")
    assert page.endswith(b"# EOF\n")


def test_histograms_are_left_out_when_switched_off(engine: falaj.Engine) -> None:
    families = _families(_collector(engine, histograms=False))
    assert [family for family in families.values() if family.type == "histogram"] == []
    assert "nv_inference_count" in families


def test_page_is_there_without_models_when_the_engine_is_closed(engine: falaj.Engine) -> None:
    collector = _collector(engine)
    engine.close()
    samples = _samples(collector)
    assert not [name for name, labels in samples if "model" in dict(labels)]
    assert _get(samples, "falaj_requests_in_flight") == 0


def test_label_survives_when_a_model_has_a_strange_name(tmp_path: Path) -> None:
    name = 'a "b" \\c'
    add_python(tmp_path, name)
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine:
        for accept in ("", _OPENMETRICS):
            samples = _samples(_collector(engine), accept)
            assert _get(samples, "nv_inference_count", model=name, version="1") == 0


def test_no_metric_is_registered_globally_when_collectors_are_made(engine: falaj.Engine) -> None:
    from prometheus_client import REGISTRY

    before = {family.name for family in REGISTRY.collect()}
    for _ in range(2):
        _collector(engine).render()
    assert {family.name for family in REGISTRY.collect()} == before


# --- Buckets. A reference counts the values themselves, as the core would put them into its bins.


def _bin_above(value: int) -> int:
    """The least value above the core's bin of a value: csrc/observe/counter.h."""
    if value < 4:
        return value + 1
    exponent = value.bit_length() - 1
    quarter = (value >> (exponent - 2)) & 3
    return min((4 + quarter + 1) << (exponent - 2), 2**41)


def _bins(values: list[int]) -> list[tuple[int, int]]:
    above = [_bin_above(value) for value in values]
    return [(bound, above.count(bound)) for bound in sorted(set(above))]


_TIMES = st.lists(st.integers(0, 2**42) | st.integers(0, 40).map(lambda power: 2**power))


@_UNHURRIED
@given(_TIMES)
def test_time_buckets_equal_a_direct_count_when_values_are_binned(values: list[int]) -> None:
    for bound, count in time_buckets(_bins(values)):
        assert count == sum(value / 1e9 <= float(bound) for value in values), bound


@_UNHURRIED
@given(st.lists(st.integers(0, 20_000)))
def test_row_buckets_equal_a_direct_count_when_values_are_binned(values: list[int]) -> None:
    for bound, count in row_buckets(_bins(values)):
        assert count == sum(value <= float(bound) for value in values), bound


def test_ladders_are_the_cores_own_bounds_when_compared() -> None:
    for above in (*TIME_LADDER, *ROW_LADDER):
        assert _bin_above(above - 1) == above
    assert [bound for bound, _ in row_buckets([])][:7] == ["1.0", "2.0", "4.0", "9.0", "19.0", "39.0", "79.0"]
    assert math.isinf(float(time_buckets([])[-1][0]))


# --- The machine.


def _stat(folder: Path, *ticks: int) -> None:
    (folder / "stat").write_text("cpu  " + " ".join(map(str, ticks)) + "\ncpu0 1 1\n", encoding="ascii")
    (folder / "meminfo").write_text(
        "MemTotal:  100 kB\nMemFree: 10 kB\nMemAvailable: 30 kB\nHugePages_Total: 0\n", encoding="ascii"
    )


def test_cpu_utilization_is_that_since_the_last_look_when_asked_again(tmp_path: Path) -> None:
    def look() -> dict[str, float]:
        return {family.name: family.samples[0].value for family in machine.collect()}

    _stat(tmp_path, 100, 0, 0, 100, 0, 0, 0, 0, 0, 0)
    machine = Machine(tmp_path)
    _stat(tmp_path, 125, 5, 0, 160, 10, 0, 0, 0, 7, 0)
    assert look()["nv_cpu_utilization"] == 0.3
    assert look()["nv_cpu_utilization"] == 0.3, "no time has passed"
    _stat(tmp_path, 225, 5, 0, 160, 10, 0, 0, 0, 7, 0)
    told = look()
    assert told["nv_cpu_utilization"] == 1
    assert (told["nv_cpu_memory_total_bytes"], told["nv_cpu_memory_used_bytes"]) == (102_400, 71_680)


def test_gpus_are_told_when_the_management_library_knows_some(monkeypatch: pytest.MonkeyPatch) -> None:
    class NVMLError(Exception):
        pass

    def no_power(handle: int) -> int:
        if handle == 1:
            raise NVMLError
        return 250_500

    library = SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetUUID=lambda handle: f"GPU-{handle}",
        nvmlDeviceGetUtilizationRates=lambda handle: SimpleNamespace(gpu=40 + handle),
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(total=1000, used=300),
        nvmlDeviceGetPowerUsage=no_power,
    )
    monkeypatch.setitem(sys.modules, "pynvml", library)
    told = {
        (family.name, sample.labels["gpu_uuid"]): sample.value
        for family in Gpus().collect()
        for sample in family.samples
    }
    assert told == {
        ("nv_gpu_utilization", "GPU-0"): 0.4,
        ("nv_gpu_utilization", "GPU-1"): 0.41,
        ("nv_gpu_memory_total_bytes", "GPU-0"): 1000,
        ("nv_gpu_memory_total_bytes", "GPU-1"): 1000,
        ("nv_gpu_memory_used_bytes", "GPU-0"): 300,
        ("nv_gpu_memory_used_bytes", "GPU-1"): 300,
        ("nv_gpu_power_usage", "GPU-0"): 250.5,
    }


def test_gpus_are_left_out_when_the_library_has_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise LookupError

    library = SimpleNamespace(NVMLError=LookupError, nvmlInit=fail)
    monkeypatch.setitem(sys.modules, "pynvml", library)
    assert list(Gpus().collect()) == []
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert list(Gpus().collect()) == []


# --- The documentation.


def test_page_of_the_documentation_names_every_metric_when_compared(
    engine: falaj.Engine,
) -> None:
    served = set(_families(_collector(engine), _OPENMETRICS))
    gpus = {
        "nv_gpu_utilization",
        "nv_gpu_memory_total_bytes",
        "nv_gpu_memory_used_bytes",
        "nv_gpu_power_usage",
    }
    page = _FACTS.read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE))
    counters = {name.removesuffix("_total").removesuffix("_info") for name in named}
    assert counters == served | gpus

"""What the network front end has done, as metrics."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from falaj.server.ops.buckets import time_buckets


class WireStats(Protocol):
    """The part of the native WireServer that metrics read."""

    @property
    def access_log_dropped(self) -> int:
        """Lines of the access log that were dropped because it was behind."""

    def stats(self) -> dict[str, Any]:
        """Counters by protocol, and what is under way."""


_PROTOCOLS = ("http", "grpc", "admin")
_PHASES = (
    ("read", "Time from the first to the last byte of each infer request"),
    ("decode", "Time of reading each infer request's tensors"),
    ("wait", "Time from the model's queue to the answer, of each infer request"),
    ("encode", "Time of writing each infer request's answer"),
    ("request", "Time from the last byte of each infer request to its answer being ready to be sent"),
)
_COUNTERS = (
    ("falaj_connections_opened", "Connections that were taken", "connections_opened"),
    ("falaj_wire_requests", "Requests that were read whole", "requests"),
    ("falaj_wire_infer_requests", "Of them, infer requests", "infer_requests"),
    ("falaj_wire_cancelled", "Requests whose client went away first", "cancelled"),
    ("falaj_wire_read_bytes", "Bytes that came in", "bytes_in"),
    ("falaj_wire_written_bytes", "Bytes that went out", "bytes_out"),
)
_ANSWERS = ("ok", "client_errors", "server_errors")


def wire_metrics(wire: WireStats, *, histograms: bool) -> Iterable[Metric]:
    """Yield the metrics of the front end."""
    stats = wire.stats()
    by_protocol: dict[str, Mapping[str, Any]] = {name: stats[name] for name in _PROTOCOLS}
    open_now = GaugeMetricFamily("falaj_connections", "Connections that are open", labels=["protocol"])
    for protocol, counts in by_protocol.items():
        open_now.add_metric([protocol], counts["connections_opened"] - counts["connections_closed"])
    yield open_now
    for name, text, key in _COUNTERS:
        counter = CounterMetricFamily(name, text, labels=["protocol"])
        for protocol, counts in by_protocol.items():
            counter.add_metric([protocol], counts[key])
        yield counter
    yield _labelled("falaj_wire_answers", "Answers by kind", "kind", by_protocol, _answers)
    refused = "What was refused, and which bound or rule it passed"
    yield _labelled("falaj_wire_refused", refused, "reason", by_protocol, lambda counts: counts["refused"])
    yield GaugeMetricFamily("falaj_requests_in_flight", "Requests under way", stats["requests_in_flight"])
    yield GaugeMetricFamily(
        "falaj_wire_buffered_bytes",
        "Bytes of bodies being received and answers not yet taken",
        stats["buffered_bytes"],
    )
    yield CounterMetricFamily(
        "falaj_access_log_dropped", "Lines that the access log was too slow for", wire.access_log_dropped
    )
    if histograms:
        yield from _histograms(by_protocol)


def _answers(counts: Mapping[str, Any]) -> Mapping[str, int]:
    return {kind: counts[kind] for kind in _ANSWERS}


def _labelled(
    name: str, text: str, label: str, by_protocol: Mapping[str, Mapping[str, Any]], pick: Any
) -> CounterMetricFamily:
    counter = CounterMetricFamily(name, text, labels=["protocol", label])
    for protocol, counts in by_protocol.items():
        for value, count in pick(counts).items():
            counter.add_metric([protocol, value], count)
    return counter


def _histograms(by_protocol: Mapping[str, Mapping[str, Any]]) -> Iterable[Metric]:
    for phase, text in _PHASES:
        name = f"falaj_wire_{phase}_seconds"
        times = HistogramMetricFamily(name, text, labels=["protocol"], unit="seconds")
        for protocol, counts in by_protocol.items():
            if protocol != "admin":  # which answers no infer requests
                buckets = time_buckets(counts[f"{phase}_ns"])
                times.add_metric([protocol], buckets, counts[f"{phase}_ns_sum"] / 1e9)
        yield times

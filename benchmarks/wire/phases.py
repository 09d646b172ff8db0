"""What the server itself says that the wire took of its requests, before the batcher and after it."""

import http.client

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.wire.servers import Server

# Beside these there is only the wait for the batcher, and sockets and threads that wait for a core.
PHASES = ("read", "decode", "encode")
Counts = dict[str, dict[float, float]]  # by phase: requests up to each bound, in seconds


def counts(server: Server, protocol: str) -> Counts:
    """Return the histograms since the server began; empty ones where it has no port for metrics."""
    found: Counts = {phase: {} for phase in PHASES}
    if "metrics" not in server.ports:
        return found
    connection = http.client.HTTPConnection(server.host, server.ports["metrics"], timeout=10)
    connection.request("GET", "/metrics")
    page = connection.getresponse().read().decode()
    connection.close()
    names = {f"falaj_wire_{phase}_seconds_bucket": phase for phase in PHASES}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name in names and sample.labels["protocol"] == protocol:
                found[names[sample.name]][float(sample.labels["le"])] = sample.value
    return found


def p99(before: Counts, after: Counts) -> float | None:
    """Return the sum of the phases' 99th percentiles between two looks, in seconds, rounded up to bounds of
    the histograms; None where nothing was counted."""
    total = 0.0
    for phase in PHASES:
        added = {bound: count - before[phase].get(bound, 0.0) for bound, count in after[phase].items()}
        requests = max(added.values(), default=0.0)
        if requests == 0:
            return None
        total += min(bound for bound, count in added.items() if count >= 0.99 * requests)
    return total

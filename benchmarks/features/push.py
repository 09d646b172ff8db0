"""Measures pushing into the embedded online store, and reads what was written. See docs/benchmarks.md.

The exit code is 1 where a look-up tells something else than the rules, or where the pushed events come to
other features, in any bit, than the same events materialised, or in a training set.
"""

import argparse
import http.client
import json
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import duckdb

from benchmarks.engine.machine import stamp
from benchmarks.engine.report import Section, Target
from benchmarks.features.expected import Expected
from benchmarks.features.vectors import different, of_export, of_store
from benchmarks.features.views import spending, write_events
from falaj._core import OnlineStore
from falaj.features import View
from falaj.features.offline.resources import Resources
from falaj.features.online.lookup import look_up
from falaj.features.online.materialize import materialize_views
from falaj.features.online.push import push
from falaj.features.online.store import open_store, open_view
from falaj.features.registry import Registry
from tests.server.serving_process import Serving

_SPAN_US = 24 * 3_600_000_000
_ONE_IN = 50  # entities that are followed
Event = dict[str, Any]


@dataclass
class Pushing:
    """What one way of pushing took; times of the pushes alone.

    Attributes:
        checked: Look-ups behind a push.
        wrong: What the first of them told that is not by the rules.
    """

    events: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    checked: int = 0
    wrong: list[str] = field(default_factory=list)
    longest_ms: float = 0.0

    def row(self, way: str) -> Sequence[str]:
        """Return it for the table."""
        cpu = f"{self.cpu / self.events * 1e6:,.1f}" if self.cpu else ""
        rate = self.events / self.seconds
        return way, f"{self.events:,}", f"{rate:,.0f}", cpu, f"{self.longest_ms:,.1f}", f"{self.checked:,}"


def batches(file: Path, size: int, most: int, modulo: tuple[int, int] = (1, 0)) -> Iterator[list[Event]]:
    """Yield the events of a file in its order, those of some entities; a batch is held at a time."""
    parts, part = modulo
    with duckdb.connect() as connection:
        relation = connection.sql(f"SELECT * FROM '{file}' WHERE customer_id % {parts} = {part} LIMIT {most}")
        for batch in relation.to_arrow_reader(max(size, 2048)):
            rows = batch.to_pylist()
            yield from (rows[begin : begin + size] for begin in range(0, len(rows), size))


def push_all(store: OnlineStore, view: View, file: Path, size: int, most: int) -> Pushing:
    """Push by the Python API, a batch after the other, and look up an entity of each that is followed."""
    done, expected, online = Pushing(), Expected(view, _ONE_IN), open_view(store, view)
    for events in batches(file, size, most):
        cpu, begin = time.process_time(), time.perf_counter()
        push(store, view, events)
        took = time.perf_counter() - begin
        done.seconds, done.cpu = done.seconds + took, done.cpu + time.process_time() - cpu
        done.longest_ms = max(done.longest_ms, took * 1e3)
        done.events += len(events)
        for entity in expected.add(events)[:1]:
            at = time.time_ns() // 1000
            (found,) = look_up([(view, online)], {"customer_id": [entity]}, at)
            done.checked += 1
            told = expected.wrong(entity, at, {name: values[0] for name, values in found.values.items()})
            done.wrong += [] if told is None else [told]
    return done


class Client:
    """A connection that pushes the events of its own entities to a server, and looks some up."""

    def __init__(self, port: int, view: View) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._view, self._expected = view, Expected(view, _ONE_IN)
        self.done = Pushing()

    def push(self, given: Iterator[list[Event]]) -> None:
        """Push all, in its turn."""
        for events in given:
            body = json.dumps({"rows": events}).encode()
            begin = time.perf_counter()
            self._ask(f"/v1/features/{self._view.name}/push", body)
            took = time.perf_counter() - begin
            self.done.seconds += took
            self.done.longest_ms = max(self.done.longest_ms, took * 1e3)
            self.done.events += len(events)
            for entity in self._expected.add(events)[:1]:
                self._check(entity)

    def _check(self, entity: int) -> None:
        asked = {"views": [self._view.name], "keys": {"customer_id": [entity]}}
        times = [time.time_ns() // 1000]
        answer = self._ask("/v1/features/get", json.dumps(asked).encode())
        times.append(time.time_ns() // 1000)
        (found,) = answer["views"].values()
        got = {name: values[0] for name, values in found["values"].items()}
        told = [self._expected.wrong(entity, at, got) for at in times]
        self.done.checked += 1
        if None not in told:  # it was asked at some time between
            self.done.wrong += [str(told[0])]

    def _ask(self, path: str, body: bytes) -> Any:
        self._connection.request("POST", path, body)
        response = self._connection.getresponse()
        answer = response.read()
        if response.status != 200:
            raise RuntimeError(f"{path}: {response.status} {answer.decode()}")
        return json.loads(answer)


def push_by_http(folder: Path, view: View, file: Path, arguments: argparse.Namespace) -> tuple[Pushing, Path]:
    """Push to a real server by some connections at once; return where its store is, too."""
    (folder / "models").mkdir(parents=True)
    store = folder / "store"
    Registry(folder / "data" / "features.db").apply([view])
    settings = ("--data-dir", str(folder / "data"), "--set", f"features.store=lmdb://{store}")
    most = arguments.http_events // arguments.connections
    with Serving(folder, *settings) as server:
        clients = [Client(server.ready["http"], view) for _ in range(arguments.connections)]
        given = [
            list(batches(file, arguments.http_batch, most, (arguments.connections, part)))
            for part in range(arguments.connections)
        ]
        threads = [
            threading.Thread(target=client.push, args=(iter(events),))
            for client, events in zip(clients, given, strict=True)
        ]
        cpu, begin = _cpu_of(server.pid), time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds, used = time.perf_counter() - begin, _cpu_of(server.pid) - cpu
    done = Pushing(seconds=seconds, cpu=used)
    for client in clients:
        done.events += client.done.events
        done.checked += client.done.checked
        done.wrong += client.done.wrong
        done.longest_ms = max(done.longest_ms, client.done.longest_ms)
    if done.events != sum(len(each) for events in given for each in events):
        done.wrong.append("a connection was lost")
    return done, store


def _cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def measure(arguments: argparse.Namespace) -> Section:
    """Push in each way into a store of its own; compare the first with what the batch computation says."""
    with tempfile.TemporaryDirectory(prefix="falaj-push-") as name:
        folder = Path(name)
        file = folder / "events.parquet"
        begin_us = time.time_ns() // 1000 - _SPAN_US - 4 * 3_600_000_000
        write_events(file, arguments.events, arguments.entities, begin_us, _SPAN_US)
        view = spending(file)
        pushed = open_store(f"lmdb://{folder / 'pushed'}")
        by_batch = push_all(pushed, view, file, arguments.batch, arguments.events)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        one_by_one = push_all(
            open_store(f"lmdb://{folder / 'single'}"), view, file, 1, arguments.single_events
        )
        by_http, _ = push_by_http(folder / "serving", view, file, arguments)
        told = _compared(folder, view, pushed, arguments)
    section = Section(
        f"{arguments.events:,} events of {arguments.entities:,} entities, a tenth copies, a fifth late",
        ("way", "events", "events/s", "CPU µs an event", "longest ms", "look-ups checked"),
        notes=[
            "each push is on the disk when it returns; CPU over HTTP is the server's, look-ups included",
            f"peak MiB of the process that pushed in batches: {peak:,.0f}",
            *[f"{which}: {what or 'identical'}" for which, what in told.items()],
        ],
    )
    ways = {
        f"Python, {arguments.batch:,} at a time": by_batch,
        "Python, one at a time": one_by_one,
        f"HTTP, {arguments.connections} connections, {arguments.http_batch:,} at a time": by_http,
    }
    for way, done in ways.items():
        section.rows.append(done.row(way))
        section.notes += done.wrong[:1]
    wrong = sum(len(done.wrong) for done in ways.values())
    section.targets.append(Target("look-ups that are wrong", wrong, "=", 0.0))
    section.targets.append(Target("ways that differ", sum(map(bool, told.values())), "=", 0.0))
    return section


def _compared(
    folder: Path, view: View, pushed: OnlineStore, arguments: argparse.Namespace
) -> dict[str, str | None]:
    """Return, of each other way to the same features, where all entities' differ first."""
    at = time.time_ns() // 1000
    ours = of_store(pushed, view, arguments.entities, at)
    store = open_store(f"lmdb://{folder / 'materialized'}")
    resources = Resources(arguments.memory)
    materialize_views([view], store, folder, until_us=at, resources=resources)
    materialized = of_store(store, view, arguments.entities, at)
    exported = of_export(view, arguments.entities, at, folder / "set.parquet", arguments.memory)
    materialize_views([view], pushed, folder, until_us=at, resources=resources)
    both = of_store(pushed, view, arguments.entities, at)
    return {
        "pushed and materialized": different(ours, materialized),
        "pushed and a training set": different(ours, exported),
        "pushed, before and after it was materialized into the same store": different(ours, both),
    }


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000, help="(1,000,000)")
    parser.add_argument("--entities", type=int, default=100_000, help="(100,000)")
    parser.add_argument("--batch", type=int, default=1_000, help="at a time (1,000)")
    parser.add_argument("--single-events", type=int, default=5_000, help="one at a time (5,000)")
    parser.add_argument("--http-events", type=int, default=100_000, help="over HTTP (100,000)")
    parser.add_argument("--http-batch", type=int, default=200, help="in a request (200)")
    parser.add_argument("--connections", type=int, default=4, help="(4)")
    parser.add_argument("--memory", default="1GB", help="of DuckDB, where events are not pushed (1GB)")
    arguments = parser.parse_args()
    for key, value in stamp().items():
        print(f"{key}: {value}")
    section = measure(arguments)
    print(section.text())
    return 0 if all(target.met for target in section.targets) else 1


if __name__ == "__main__":
    sys.exit(main())

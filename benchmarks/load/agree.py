"""Asks one Falaj server by `falaj bench`, wrk and h2load in turns, and says how far their figures are apart.
See docs/benchmarks.md.

The server has one half of the cores, who asks the other. What is not installed is left out, and said so. The
exit code is 1 where the median over the rounds of a figure of `falaj bench` is more than 10 % off another's
that is not its own limit, or its CPU a JSON request of the small model is above 15 µs.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.engine import machine
from benchmarks.engine.report import Section, Spread, Target
from benchmarks.load.others import Other, Seen, others
from benchmarks.wire.servers import falaj_command, started
from falaj.server.bench import target as bench_target
from falaj.server.bench.asked import Asked, prepare
from falaj.server.bench.load import Load
from falaj.server.bench.measure import measure_asked
from tests import zoo

APART = 0.1
MOST_CPU_US = 15.0
OWN = "falaj bench"
# A load generator that is busy for so much of its one thread's time is what limits the throughput.
_ITS_OWN_LIMIT = 0.95
_FORMS = {"HTTP JSON": ("http", "json"), "HTTP binary": ("http", "binary"), "gRPC raw": ("grpc", "auto")}


def main() -> int:
    """Measure, print, and return the exit code."""
    arguments = _arguments()
    for key, value in machine.stamp().items():
        print(f"{key}: {value}")
    asking = [other for other in others() if other.installed]
    for other in others():
        if not other.installed:
            print(f"{other.name} is not installed (package {other.package}): left out")
    print(f"{arguments.concurrency} connections, one thread each; {arguments.rounds} rounds of", end=" ")
    print(f"{arguments.seconds:g} s in turns; ratios are formed inside a round\n", flush=True)
    sections = []
    with tempfile.TemporaryDirectory(prefix="falaj-agree-") as name:
        folder = Path(name)
        models = [zoo.mlp(), *([] if arguments.quick else [zoo.conv_net()])]
        for model in models:
            zoo.save(model, folder / "models")
        cores = sorted(os.sched_getaffinity(0))
        servers = cores[: max(1, len(cores) // 2)]
        os.sched_setaffinity(0, servers)
        with started("falaj", falaj_command(folder / "models", len(servers))) as server:
            os.sched_setaffinity(0, cores[len(servers) :] or cores)
            for model in models:
                for form, (protocol, kind) in _FORMS.items():
                    url = f"{protocol}://{server.host}:{server.ports[protocol]}"
                    asked = prepare(bench_target.Target(url, model.name, form=kind))  # type: ignore[arg-type]
                    known = [other for other in asking if protocol in other.protocols]
                    rounds = [_round(asked, known, arguments, folder, i) for i in range(arguments.rounds)]
                    judges_cpu = (model, form) == (models[0], "HTTP JSON")
                    section = _section(f"{model.name}, {form}", rounds, judges_cpu=judges_cpu)
                    print(section.text(), flush=True)
                    sections.append(section)
    if arguments.json is not None:
        written = {"machine": machine.stamp(), "sections": [section.as_json() for section in sections]}
        arguments.json.write_text(json.dumps(written, indent=1) + "\n")
    targets = [target for section in sections for target in section.targets]
    print(f"{sum(target.met for target in targets)} of {len(targets)} targets met")
    return 0 if arguments.quick or all(target.met for target in targets) else 1


def _round(
    asked: Asked, known: list[Other], arguments: argparse.Namespace, folder: Path, number: int
) -> dict[str, dict[str, float]]:
    """Ask by each; another begins in each round."""
    names = [OWN, *(other.name for other in known)]
    by_name = {other.name: other for other in known}
    at = number % len(names)
    found: dict[str, dict[str, float]] = {}
    for name in names[at:] + names[:at]:
        if name == OWN:
            found[name] = _own(asked, arguments.concurrency, arguments.seconds)
        else:
            seen = by_name[name].ask(asked, arguments.concurrency, arguments.seconds, folder)
            found[name] = _figures(seen)
    return found


def _own(asked: Asked, concurrency: int, seconds: float) -> dict[str, float]:
    measured = measure_asked(
        asked,
        Load.closed(concurrency),
        warm_up_s=0.0,  # as the others
        window_s=float(max(1, round(seconds))),
        max_windows=1,
        stability=0.1,
        progress=None,
    )
    if measured.errors:
        raise RuntimeError(f"falaj bench: not all was answered: {measured.error_texts}")
    cpu = measured.client_cpu_us_per_request
    return _figures(Seen(measured.throughput, measured.mean_us, cpu, measured.p50_us, measured.p99_us))


def _figures(seen: Seen) -> dict[str, float]:
    told = {
        "throughput": seen.throughput,
        "mean_us": seen.mean_us,
        "cpu_us": seen.cpu_us,
        "busy": seen.cpu_us * seen.throughput / 1e6,
        "p50_us": seen.p50_us,
        "p99_us": seen.p99_us,
    }
    return {key: value for key, value in told.items() if value is not None}


def _section(title: str, rounds: list[dict[str, dict[str, float]]], *, judges_cpu: bool) -> Section:
    section = Section(
        f"{title}: what each load generator says",
        (
            "load generator",
            "requests/s",
            "mean µs",
            "p50 µs",
            "p99 µs",
            "its CPU µs",
            "busy",
            f"{OWN}'s requests/s",
            "mean",
            "p50",
        ),
        data={"rounds": rounds},
    )
    for name in sorted(rounds[0], key=lambda other: other != OWN):
        columns = {key: [one[name][key] for one in rounds] for key in rounds[0][name]}
        texts = [
            Spread.of(columns[key]).text(0) if key in columns else ""
            for key in ("throughput", "mean_us", "p50_us", "p99_us")
        ]
        busy = Spread.of(columns["busy"])
        texts += [Spread.of(columns["cpu_us"]).text(1), f"{busy.median:.0%}"]
        ratios = {
            key: Spread.of(one[OWN][key] / one[name][key] for one in rounds)
            for key in ("throughput", "mean_us", "p50_us")
            if key in columns and name != OWN
        }
        section.rows.append(
            (name, *texts, *(_text(ratios.get(key)) for key in ("throughput", "mean_us", "p50_us")))
        )
        if name != OWN and busy.median >= _ITS_OWN_LIMIT:
            section.notes.append(f"{name} is its own limit, {busy.median:.0%} busy: not judged")
            continue
        for key, ratio in ratios.items():
            if key != "throughput" and name == "wrk":
                continue  # it adds latencies that it did not see: see docs/benchmarks.md
            off = abs(ratio.median - 1)
            section.targets.append(Target(f"{title}, {key} off {name}'s", off, "<=", APART))
    if judges_cpu:
        cpu = Spread.of(one[OWN]["cpu_us"] for one in rounds)
        section.targets.append(Target(f"{title}, CPU µs a request of {OWN}", cpu.median, "<=", MOST_CPU_US))
    return section


def _text(ratio: Spread | None) -> str:
    return "" if ratio is None else f"{ratio.text(3)} x"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="of one measurement, whole (3)")
    parser.add_argument("--rounds", type=int, default=5, help="of every comparison (5)")
    parser.add_argument("--concurrency", type=int, default=16, help="connections (16)")
    parser.add_argument("--quick", action="store_true", help="one model, one short round, no verdict: for CI")
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write every round's figures there")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.seconds, arguments.rounds = 1.0, 1
    if arguments.rounds < 1 or arguments.seconds <= 0 or arguments.concurrency < 1:
        parser.error("--rounds, --seconds and --concurrency: expected more than 0")
    return arguments


if __name__ == "__main__":
    sys.exit(main())

"""The comparison of load generators runs, with those that are installed."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.load.others import Seen, others

ROOT = Path(__file__).parents[2]


def test_report_is_written_when_run_quickly(tmp_path: Path) -> None:
    written = tmp_path / "agree.json"
    command = [sys.executable, "benchmarks/load/agree.py", "--quick", "--json", str(written)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    sections = json.loads(written.read_text())["sections"]
    assert len(sections) == 3
    for section, protocol in zip(sections, ("http", "http", "grpc"), strict=True):
        known = {other.name for other in others() if other.installed and protocol in other.protocols}
        (one,) = section["rounds"]["rounds"]
        assert set(one) == {"falaj bench", *known}
        assert all(figures["throughput"] > 0 and figures["mean_us"] > 0 for figures in one.values())
        assert one["falaj bench"]["cpu_us"] > 0
    for other in others():
        assert (f"{other.name} is not installed" in done.stdout) != other.installed


@pytest.mark.parametrize(
    ("name", "printed", "seen"),
    [
        (
            "wrk",
            "  Thread Stats   Avg      Stdev     Max   +/- Stdev\n    Latency   367.41us  788.58us  12.03ms\n"
            "  Latency Distribution\n     50%  240.00us\n     75%  281.00us\n     99%    4.20ms\n"
            "  51240 requests in 1.00s, 9.87MB read\nRequests/sec:  51234.56\n",
            Seen(51234.56, 367.41, 0.0, 240.0, 4200.0),
        ),
        (
            "h2load",
            "finished in 1.00s, 43296.00 req/s, 5.03MB/s\nrequests: 43296 total, 43296 started, 43296 done, "
            "43296 succeeded, 0 failed, 0 errored, 0 timeout\n"
            "                     min         max         mean         sd        +/- sd\n"
            "time for request:       99us     18.36ms       369us       584us    98.11%\n",
            Seen(43296.0, 369.0, 0.0),
        ),
    ],
)
def test_figures_are_found_when_another_prints_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, printed: str, seen: Seen
) -> None:
    from falaj.server.bench.asked import Asked
    from falaj.server.bench.target import Target

    program = tmp_path / name
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{printed}END\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{Path(shutil.which('sh') or '/bin/sh').parent}")
    native = {"protocol": "http", "host": "127.0.0.1", "port": 1, "path": "/", "requests": [([], b"{}")]}
    asked = Asked(Target("http://127.0.0.1:1", "m"), None, native, "json", 2, 1)  # type: ignore[arg-type]
    (other,) = (other for other in others() if other.name == name)
    found = other.ask(asked, 1, 1.0, tmp_path)
    assert replace(found, cpu_us=0.0) == seen
    assert 0 <= found.cpu_us < 1e6 / 40_000

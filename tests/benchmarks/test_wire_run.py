"""The wire's benchmarks run, from writing the models to the report."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_report_is_written_when_run_quickly(programs: Path, tmp_path: Path) -> None:
    if not (programs / "falaj_engine_bench").is_file():
        pytest.fail(f"{programs} has no falaj_engine_bench, which `make test` builds")
    written = tmp_path / "wire.json"
    command = [sys.executable, "benchmarks/wire/run.py", "--quick", "--only", "http", "--json", str(written)]
    command += ["--programs", str(programs)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    section = json.loads(written.read_text())["sections"]["http"]
    assert section["targets"] == []
    (cases,) = section["rounds"]["rounds"]
    for inflight in (16, 64):
        engine = cases.pop(f"in process, {inflight} in flight")["engine"]
        assert engine["cpu_us_per_request"] > 0
        assert engine["requests_per_second"] > 0
    assert list(cases) == [f"{form}, {at}" for form in ("JSON", "binary") for at in (1, 16, 64)]
    for case in cases.values():
        assert set(case) == {"falaj", "beast_echo"}
        for figures in case.values():
            assert figures["errors"] == 0
            assert figures["server_cpu_us"] > 0
            assert figures["requests_per_second"] > 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ["--only", "http,htpp"],
            "--only: expected some of http,grpc,conv,million,latency,keyed,traced, got htpp",
        ),
        (["--rounds", "0"], "expected more than 0"),
        (["--programs", "nowhere"], "nowhere/wire_load: no such file"),
        (["--server-command", "false"], "server did not start, its first line is b''"),
    ],
)
def test_reason_is_told_when_it_cannot_begin(programs: Path, arguments: list[str], complaint: str) -> None:
    command = [sys.executable, "benchmarks/wire/run.py", "--quick", "--programs", str(programs), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode != 0
    assert complaint in done.stderr

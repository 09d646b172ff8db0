"""docs/bench.md is followed against a server that is really serving."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.digits import train_and_convert
from tests.docs.follow import PAGES, follow

ROOT = Path(__file__).parents[2]


@pytest.fixture
def ports(tmp_path: Path) -> Iterator[dict[str, int]]:
    train_and_convert(tmp_path / "models")
    _make_meter(tmp_path)
    command = [sys.executable, "-m", "falaj.server", "serve", "--repository", str(tmp_path / "models")]
    command += [
        "--allow-shared-memory",
        "--http-port",
        "0",
        "--grpc-port",
        "0",
        "--metrics-port",
        "0",
        "--drain-seconds",
        "0",
    ]
    server = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert server.stdout is not None
    try:
        yield json.loads(server.stdout.readline())
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
        server.stdout.close()


def _make_meter(folder: Path) -> None:
    """Make the model of the page on sequences, as that page does."""
    text = (PAGES / "sequences.md").read_text(encoding="utf-8").partition("In process:")[0]
    page = folder / "sequences.md"
    page.write_text(f"{text}```console\n$ python make_model.py\n```\n", encoding="utf-8")
    assert follow(page, folder, {}) == 1


def test_page_tells_what_really_happens_when_it_is_followed(ports: dict[str, int], tmp_path: Path) -> None:
    text = (PAGES / "bench.md").read_text(encoding="utf-8")
    for usual, port in (("8000", ports["http"]), ("8001", ports["grpc"]), ("8002", ports["metrics"])):
        text = text.replace(f"localhost:{usual}", f"localhost:{port}")
    page = tmp_path / "bench.md"
    page.write_text(text, encoding="utf-8")
    folder = tmp_path / "followed"
    folder.mkdir()
    assert follow(page, folder, {"PYTHONPATH": str(ROOT)}) == 15

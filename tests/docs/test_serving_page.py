"""docs/serving.md is followed from top to bottom against a server that is really serving."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.digits import train_and_convert

_PAGE = Path(__file__).parents[2] / "docs" / "serving.md"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    folder = tmp_path_factory.mktemp("serving")
    train_and_convert(folder / "models")
    flags = ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]
    command = [sys.executable, "-m", "falaj.server", "serve", "--repository", "models", *flags]
    root = Path(__file__).parents[2]
    server = subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root), "FALAJ_SERVER_DRAIN_SECONDS": "0.1"},
    )
    assert server.stdout is not None
    try:
        yield json.loads(server.stdout.readline())
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
        server.stdout.close()


def test_page_tells_what_really_happens_when_it_is_followed(ports: dict[str, int]) -> None:
    text = _PAGE.read_text(encoding="utf-8").replace("localhost:8000", f"localhost:{ports['http']}")
    shell = ""
    said = ""
    names: dict[str, object] = {}
    compared = 0
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for language, block in _BLOCK.findall(text):
        if language == "bash":
            shell += block + 'printf "\\n--end--\\n"\n'
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", shell],
                capture_output=True,
                text=True,
                timeout=60,
                env={**os.environ, "PATH": path},
                check=True,
            )
            said = done.stdout.split("\n--end--\n")[-2]
        elif language == "json":
            assert re.sub(r"\s", "", said) == re.sub(r"\s", "", block)
            compared += 1
        elif language == "python":
            exec(compile(block, "serving.md", "exec"), names)
    assert compared == 6

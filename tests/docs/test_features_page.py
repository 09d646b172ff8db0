"""docs/features.md is followed: its files are written, its commands run, and what they say is compared."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.features.online.redis_server import redis_server

_PAGE = Path(__file__).parents[2] / "docs" / "features.md"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# file: (\S+)\n")


@pytest.fixture
def redis_url() -> Iterator[str]:
    with redis_server() as server:
        yield server.url


def test_page_tells_what_really_happens_when_it_is_followed(tmp_path: Path, redis_url: str) -> None:
    path_variable = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path_variable, "STORE": redis_url}
    ran = 0
    for language, block in _BLOCK.findall(_PAGE.read_text(encoding="utf-8")):
        file = _FILE.match(block)
        if file:
            path = tmp_path / file.group(1)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block[file.end() :], encoding="utf-8")
        elif language == "console":
            for part in block.split("$ ")[1:]:
                command, _, expected = part.partition("\n")
                said = subprocess.run(
                    ["bash", "-c", command],
                    cwd=tmp_path,
                    env=env,
                    stdout=subprocess.PIPE,
                    text=True,
                    timeout=180,  # a JVM on a busy machine
                    check=True,
                ).stdout
                pattern = re.escape(expected).replace("…", r"\w+")
                assert re.fullmatch(pattern, said), f"{command}\n{said}"
                ran += 1
    assert ran == 46

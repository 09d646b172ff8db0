"""docs/tracing.md is followed: its settings, its requests, and what the collector has then."""

import json
import re
import subprocess
from pathlib import Path

from tests.server.serving_process import Serving
from tests.server.tracing.collector import HttpCollector
from tests.serving import add_python

_PAGE = Path(__file__).parents[2] / "docs" / "tracing.md"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_page_tells_what_really_happens_when_it_is_followed(tmp_path: Path) -> None:
    add_python(tmp_path / "models", "echo")
    text = _PAGE.read_text(encoding="utf-8")
    blocks = _BLOCK.findall(text)
    (toml,) = [block for language, block in blocks if language == "toml"]
    config = tmp_path / "falaj.toml"
    compared = 0
    with HttpCollector() as collector:
        config.write_text(toml.replace("http://localhost:4318", collector.endpoint), encoding="utf-8")
        with Serving(tmp_path, "--config", str(config)) as server:
            said = ""
            for language, block in blocks:
                if language == "bash":
                    command = block.replace("localhost:8000", f"127.0.0.1:{server.ready['http']}")
                    done = subprocess.run(
                        ["bash", "-euc", command], capture_output=True, text=True, timeout=60, check=True
                    )
                    said = done.stdout
                elif language == "json":
                    assert json.loads(said) == json.loads(block)
                    compared += 1
                elif language == "text":
                    (root,) = collector.wait_for(1)
                    shown = "".join(f"  {part.name}\n" for part in root.parts)
                    assert f"{root.name}\n{shown}" == block
                    assert f"`{root.parent}` of the trace `{root.trace}`" in text
                    compared += 1
    assert compared == 4

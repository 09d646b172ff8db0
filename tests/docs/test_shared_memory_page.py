"""docs/shared-memory.md is followed against a server that allows it; its table is that of the settings."""

import re
from pathlib import Path

from falaj.server.ops.shared_memory import SharedMemory
from tests.docs.follow import PAGES, follow
from tests.server.serving_process import ROOT, Serving
from tests.wire.sharing import add_models

_PAGE = PAGES / "shared-memory.md"


def test_page_tells_what_really_happens_when_it_is_followed(tmp_path: Path) -> None:
    add_models(tmp_path / "models")
    with Serving(tmp_path, "--allow-shared-memory") as server:
        text = _PAGE.read_text(encoding="utf-8").replace(
            "localhost:8000", f"localhost:{server.ready['http']}"
        )
        page = tmp_path / "page.md"
        page.write_text(text, encoding="utf-8")
        assert follow(page, tmp_path, {"PYTHONPATH": str(ROOT)}, timeout=60) == 1


def test_page_names_every_setting_when_compared() -> None:
    table = _PAGE.read_text(encoding="utf-8").partition("## What is allowed")[2].partition("\n\nTriton's")[0]
    named = {name.rpartition(".")[2] for name in re.findall(r"`([\w.]+)`(?=[ ,|])", table)}
    assert named >= set(SharedMemory.__struct_fields__)

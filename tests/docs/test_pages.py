"""The how-to pages are run: files are written where they say, Python blocks are executed in order."""

import os
import re
from pathlib import Path

import pytest

from tests.docs.digits import train_and_convert

_DOCS = Path(__file__).parents[2] / "docs"
_BLOCK = re.compile(r"^```(python|toml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# file: (\S+)\n")


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    train_and_convert(folder)
    return folder


@pytest.mark.core
@pytest.mark.timeout(600)  # a model is trained and converted for it, slowly under a sanitizer
@pytest.mark.skipif(
    "libtsan" in os.environ.get("LD_PRELOAD", ""), reason="that takes minutes under ThreadSanitizer"
)
@pytest.mark.parametrize("page", ["engine.md", "model-repository.md", "cache.md", "streaming.md"])
def test_page_runs_when_followed_from_top_to_bottom(
    page: str, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    models = tmp_path / "models"
    models.mkdir()
    if page == "engine.md":
        (models / "digits").symlink_to(digits / "digits")
    names: dict[str, object] = {}
    ran = 0
    for language, text in _BLOCK.findall((_DOCS / page).read_text(encoding="utf-8")):
        file = _FILE.match(text)
        if file:
            path = tmp_path / file.group(1)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif language == "python":
            exec(compile(text, page, "exec"), names)
            ran += 1
    assert ran > 0

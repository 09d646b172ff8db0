"""docs/pipelines.md is followed: its files are written where they say, its Python is run in order."""

import re
from pathlib import Path

import msgspec
import pytest

from falaj.server.pipeline_config import PipelineConfig, PipelineInput, PipelineOutput, StepConfig
from falaj.server.step_condition import Condition

_PAGE = (Path(__file__).parents[2] / "docs" / "pipelines.md").read_text(encoding="utf-8")
_BLOCK = re.compile(r"^```(python|toml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# file: (\S+)\n")


def test_page_runs_when_followed_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    ran = 0
    for _, text in _BLOCK.findall(_PAGE):
        file = _FILE.match(text)
        if file:
            path = tmp_path / file.group(1)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        else:
            exec(compile(text, "pipelines.md", "exec"), names)
            ran += 1
    assert ran == 4


@pytest.mark.parametrize("struct", [PipelineConfig, PipelineInput, PipelineOutput, StepConfig, Condition])
def test_page_names_every_key_when_its_table_is_read(struct: type[msgspec.Struct]) -> None:
    table = _PAGE[_PAGE.index("## Every key") : _PAGE.index("## From Triton")]
    missing = [name for name in struct.__struct_fields__ if not re.search(rf"\b{name}\b", table)]
    assert missing == []

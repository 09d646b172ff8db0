import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from falaj.server.model_config import (
    CacheConfig,
    InputConfig,
    ModelConfig,
    OutputConfig,
    Provider,
    QueuePolicy,
    VersionPolicy,
    Warmup,
    WarmupInput,
    load_model_toml,
)
from falaj.server.sequence_config import SequenceConfig, SequenceControl, SequenceState
from falaj.server.triton_config import load_config_pbtxt
from falaj.server.triton_schema import field_names

_PAGE = (Path(__file__).parents[2] / "docs" / "model-config.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", _PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", _blocks("toml"))
def test_page_block_loads_when_it_is_toml(tmp_path: Path, block: str) -> None:
    path = tmp_path / "model.toml"
    path.write_text(block, encoding="utf-8")
    assert load_model_toml(path) != ModelConfig()


@pytest.mark.parametrize("block", _blocks("protobuf"))
def test_page_block_loads_without_warnings_when_it_is_protobuf(tmp_path: Path, block: str) -> None:
    path = tmp_path / "config.pbtxt"
    path.write_text(block, encoding="utf-8")
    config, warnings = load_config_pbtxt(path, "fraud")
    assert config != ModelConfig()
    assert warnings == []


def test_page_has_blocks_of_both_files_when_it_is_read() -> None:
    assert len(_blocks("toml")) >= 3
    assert len(_blocks("protobuf")) >= 2


def test_page_shows_every_key_when_the_full_example_is_read() -> None:
    full = max((tomllib.loads(block) for block in _blocks("toml")), key=len)
    assert set(full) == set(ModelConfig.__struct_fields__)


@pytest.mark.parametrize(
    "struct",
    [
        ModelConfig,
        CacheConfig,
        InputConfig,
        OutputConfig,
        Provider,
        QueuePolicy,
        VersionPolicy,
        Warmup,
        WarmupInput,
        SequenceConfig,
        SequenceControl,
        SequenceState,
    ],
)
def test_page_names_every_key_when_tables_are_read(struct: type[msgspec.Struct]) -> None:
    tables = re.sub(r"^```.*?^```$", "", _PAGE, flags=re.MULTILINE | re.DOTALL)
    missing = [name for name in struct.__struct_fields__ if not re.search(rf"`[^`]*\b{name}\b[^`]*`", tables)]
    assert missing == []


@pytest.mark.parametrize("field", field_names("ModelConfig"))
def test_page_names_every_triton_field_when_table_is_read(field: str) -> None:
    table = _PAGE[_PAGE.index("What becomes of each field") :]
    assert re.search(rf"`[^`]*\b{field}\b[^`]*`", table)

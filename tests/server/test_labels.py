from pathlib import Path

import pytest

from falaj import _core
from falaj.server.errors import ConfigError
from falaj.server.labels import read_labels
from falaj.server.model_config import OutputConfig
from falaj.server.triton_config import parse_config_pbtxt


def _labels(folder: Path, name: str = "labels.txt") -> dict[str, list[str]]:
    return read_labels("m", folder, (OutputConfig("x"), OutputConfig("y", label_filename=name)))


def test_labels_are_the_lines_when_the_file_is_there(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("cat\nصقر\n\ndog", encoding="utf-8")
    assert _labels(tmp_path) == {"y": ["cat", "صقر", "", "dog"]}


def test_labels_say_what_is_wrong_when_they_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(_core.NotFound, match=r"m: `output\[1\].label_filename`: there is no file"):
        _labels(tmp_path)
    (tmp_path / "labels.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(_core.InvalidInput, match="is not UTF-8"):
        _labels(tmp_path)
    with pytest.raises(ConfigError, match="expected a file in the model's folder"):
        _labels(tmp_path / "sub", "../labels.txt")
    (tmp_path / "labels.txt").write_bytes(b"x" * ((16 << 20) + 1))
    with pytest.raises(_core.InvalidInput, match="larger than 16 MiB"):
        _labels(tmp_path)


def test_label_file_is_taken_from_config_pbtxt_when_it_names_one() -> None:
    config, warnings = parse_config_pbtxt('output { name: "y" label_filename: "l.txt" }', source="c")
    assert config.output[0].label_filename == "l.txt"
    assert warnings == []

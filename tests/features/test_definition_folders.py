"""Views are found in the Python files of a folder."""

import sys
from pathlib import Path

import pytest

from falaj.features import DefinitionError
from falaj.features.definitions import load_definitions

_ENTITY = """
from falaj.features import Column, Entity, ParquetFiles, View

customer = Entity("customer", {"customer_id": "INT64"})
"""
_VIEW = """
{name} = View(
    name="{name}", version={version}, entity=customer, source=ParquetFiles("x"),
    columns=(Column("{column}", "FP32"),), event_time="at", known_time=None,
)
"""


def _view(name: str, version: int = 1, column: str = "value") -> str:
    return _VIEW.format(name=name, version=version, column=column)


def _write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    return folder


def test_views_are_found_in_all_files_when_one_imports_from_another(tmp_path: Path) -> None:
    folder = _write(
        tmp_path,
        a_orders="from entities import *\n" + _view("orders") + _view("returns"),
        b_more="from a_orders import orders\nfrom entities import *\n" + _view("visits"),
        entities=_ENTITY,
    )
    assert [str(view) for view in load_definitions(folder)] == [
        "view orders@1",
        "view returns@1",
        "view visits@1",
    ]


def test_folders_are_read_anew_when_they_changed_or_have_the_same_names(tmp_path: Path) -> None:
    path, modules = list(sys.path), set(sys.modules)
    for name, version in (("one", 1), ("two", 2), ("one", 3)):
        (tmp_path / name).mkdir(exist_ok=True)
        folder = _write(
            tmp_path / name, entities=_ENTITY, views="from entities import *\n" + _view("v", version)
        )
        assert [view.version for view in load_definitions(folder)] == [version]
    assert sys.path == path
    assert not {"entities", "views"} & (set(sys.modules) - modules)


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({}, r"no \*\.py files with definitions"),
        ({"entities": _ENTITY}, r"no views in entities\.py"),
        ({"bad": "x = 1\n\ny = x / 0\n"}, r"bad\.py:3: division by zero"),
        ({"bad": "x = 1\nif x\n"}, r"bad\.py:2: "),
        ({"bad": "def f():\n    raise ValueError('no')\n\n\nf()\n"}, r"bad\.py:2: no"),
        ({"bad": _ENTITY + _view("v", 0)}, r"bad\.py:6: view v@0: version: expected 1"),
        ({"json": _ENTITY + _view("v")}, r"json\.py: a module 'json' is there already"),
        (
            {"a": _ENTITY + _view("v"), "b": _ENTITY + _view("v", column="other")},
            r"b\.py: view v@1: is another in .*a\.py: columns\.value: .* -> absent",
        ),
    ],
)
def test_folder_is_refused_when_its_definitions_cannot_be_used(
    tmp_path: Path, files: dict[str, str], complaint: str
) -> None:
    _write(tmp_path, **files)
    path = list(sys.path)
    with pytest.raises(DefinitionError, match=complaint):
        load_definitions(tmp_path)
    assert sys.path == path

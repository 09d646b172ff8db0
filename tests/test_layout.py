"""Dependencies point one way, files stay small, and no module is named for nothing."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LONGEST = 600
FOLDERS = ("server", "features", "training", "csrc", "tests", "benchmarks", "falaj")
# What a folder of Python may import of the others.
PYTHON = {"server": {"server", "training", "features"}, "training": {"training", "features"}}
PYTHON["features"] = {"features"}
# What a part of training may import of the others; all import the files beside them.
TRAINING: dict[str, set[str]] = {"fit": set(), "graph": set(), "gate": set(), "optimize": set()}
TRAINING |= {"bundle": {"fit"}, "export": {"fit", "graph", "gate", "bundle"}, "demo": {"fit"}}
# What a folder of csrc may include of the others.
NATIVE = {"core": {"core"}, "observe": {"core", "observe"}, "backend": {"core", "backend"}}
NATIVE["batch"] = {"core", "observe", "backend", "batch"}
NATIVE["join"] = NATIVE["backend"] | {"join"}
NATIVE["route"] = NATIVE["batch"] | NATIVE["join"] | {"route"}
NATIVE["wire"] = NATIVE["route"] | {"wire"}
NATIVE["load"] = {"core", "load"}
NATIVE["bind"] = NATIVE["wire"] | NATIVE["load"] | {"bind"}
_INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


def sources(folder: str, *suffixes: str) -> Iterator[Path]:
    for path in sorted((ROOT / folder).rglob("*")):
        if path.suffix in suffixes and path.is_file() and "__pycache__" not in path.parts:
            yield path


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def includes(path: Path) -> Iterator[tuple[str, str]]:
    yield from _INCLUDE.findall(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("folder", sorted(PYTHON))
def test_python_imports_point_one_way_when_folders_depend_on_each_other(folder: str) -> None:
    for path in sources(folder, ".py"):
        for name in imports(path):
            found = re.match(r"falaj\.(server|training|features)\b", name)
            assert found is None or found[1] in PYTHON[folder], f"{path}: imports {name}"
            assert not re.match(r"(tests|benchmarks)\b", name), f"{path}: imports {name}"


@pytest.mark.parametrize("part", sorted(TRAINING))
def test_parts_of_training_point_one_way_when_they_depend_on_each_other(part: str) -> None:
    for path in sources(f"training/{part}", ".py"):
        for name in imports(path):
            other = name.split(".")[2:3] if name.startswith("falaj.training.") else []
            is_part = bool(other) and (ROOT / "training" / other[0]).is_dir()
            assert not is_part or other[0] in TRAINING[part] | {part}, f"{path}: imports {name}"


def test_parts_of_training_are_all_known_when_listed() -> None:
    parts = {path.parent.name for path in (ROOT / "training").glob("*/*.py")}
    assert parts == set(TRAINING), "say in this test what the new part may import"


def test_native_folders_are_all_known_when_listed() -> None:
    folders = {path.parent.name for path in sources("csrc", ".h", ".cc")}
    assert folders <= set(NATIVE), "say in this test what the new folder may include"


@pytest.mark.parametrize("folder", sorted(NATIVE))
def test_native_includes_point_one_way_when_folders_depend_on_each_other(folder: str) -> None:
    known = {path.relative_to(ROOT / "csrc").as_posix() for path in sources("csrc", ".h", ".cc")}
    for path in sources(f"csrc/{folder}", ".h", ".cc"):
        for bracket, name in includes(path):
            if bracket == '"' and name in known:
                assert name.split("/")[0] in NATIVE[folder], f"{path}: includes {name}"


def test_python_is_included_only_by_the_binding_when_native_code_is_read() -> None:
    for path in sources("csrc", ".h", ".cc"):
        foreign = [name for _, name in includes(path) if re.match(r"pybind11|Python\.h", name)]
        assert path.parent.name == "bind" or not foreign, f"{path}: includes {foreign}"


def test_core_knows_nothing_of_python_http_or_onnxruntime_when_read() -> None:
    foreign = re.compile(r"pybind11|Python\.h|onnxruntime|http|grpc|asio|nlohmann|boost", re.IGNORECASE)
    for path in sources("csrc/core", ".h", ".cc"):
        assert not [name for _, name in includes(path) if foreign.search(name)], path
    runtime = re.compile(r"onnxruntime", re.IGNORECASE)
    for path in sources("csrc", ".h", ".cc"):
        if path.parent.name != "backend":
            assert not [name for _, name in includes(path) if runtime.search(name)], path


@pytest.mark.parametrize("folder", FOLDERS)
def test_file_is_of_readable_length_when_it_is_source(folder: str) -> None:
    for path in sources(folder, ".py", ".pyi", ".h", ".cc"):
        lines = path.read_text(encoding="utf-8").count("\n")
        assert lines <= LONGEST, f"{path.relative_to(ROOT)}: {lines} lines"


@pytest.mark.parametrize("folder", FOLDERS)
def test_module_says_what_it_holds_when_named(folder: str) -> None:
    empty = {"util", "utils", "common", "helper", "helpers", "manager", "managers", "misc"}
    for path in (ROOT / folder).rglob("*"):
        if "__pycache__" not in path.parts:
            words = set(re.split(r"[._-]", path.name.lower()))
            assert not words & empty, path.relative_to(ROOT)

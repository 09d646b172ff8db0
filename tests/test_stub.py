"""falaj/_core.pyi says what the module really has."""

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from falaj import _core

pytestmark = pytest.mark.core

STUB = ast.parse((Path(__file__).parents[1] / "falaj" / "_core.pyi").read_text(encoding="utf-8"))
Function = ast.FunctionDef | ast.AsyncFunctionDef


def public(names: Any) -> set[str]:
    return {name for name in names if not name.startswith("_")}


def stub_classes() -> dict[str, ast.ClassDef]:
    return {node.name: node for node in STUB.body if isinstance(node, ast.ClassDef)}


def stub_functions() -> dict[str, Function]:
    return {node.name: node for node in STUB.body if isinstance(node, Function)}


def members(node: ast.ClassDef) -> dict[str, Function]:
    return {item.name: item for item in node.body if isinstance(item, Function)}


def stub_parameters(function: Function) -> list[str]:
    return [argument.arg for argument in function.args.args]


def real_parameters(function: Any) -> list[str]:
    """From the signature that pybind11 writes as the first line of a docstring."""
    text = function.__doc__.splitlines()[0]
    inside = text[text.index("(") + 1 : text.rindex(") ->")]
    flat = re.sub(r"\[[^][]*\]", "", re.sub(r"\[[^][]*\]", "", re.sub(r"\[[^][]*\]", "", inside)))
    return [part.split(":")[0].strip() for part in flat.split(",") if part.strip()]


def is_property(function: Function) -> bool:
    return any(isinstance(d, ast.Name) and d.id == "property" for d in function.decorator_list)


def test_stub_names_equal_the_modules_when_compared() -> None:
    stubbed = {*stub_classes(), *stub_functions()}
    assert public(stubbed) == public(dir(_core))
    assert isinstance(_core.__version__, str)


@pytest.mark.parametrize("name", sorted(stub_functions()))
def test_function_parameters_equal_the_stubs_when_compared(name: str) -> None:
    assert real_parameters(getattr(_core, name)) == stub_parameters(stub_functions()[name])


@pytest.mark.parametrize("name", sorted(stub_classes()))
def test_class_members_equal_the_stubs_when_compared(name: str) -> None:
    real, stub = getattr(_core, name), stub_classes()[name]
    assert inspect.isclass(real)
    if issubclass(real, BaseException):
        wanted = {ast.unparse(base) for base in stub.bases}
        assert {base.__name__ for base in real.__bases__} == wanted
        return
    assert public(vars(real)) == public(members(stub))
    for key, function in members(stub).items():
        if is_property(function):
            assert isinstance(vars(real)[key], property), key
        else:
            assert real_parameters(getattr(real, key)) == stub_parameters(function), key

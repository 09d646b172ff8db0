"""Definitions in a folder: every view that its Python files hold."""

import sys
import traceback
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType

from falaj.features.errors import DefinitionError
from falaj.features.identity import difference, meaning
from falaj.features.view import View


def load_definitions(folder: Path) -> list[View]:
    """Run the Python files of a folder, in the order of their names, and return the views at their top level.

    A file can import the others by their names. A view may be met more than once, where one file imports it
    from another.

    Raises:
        DefinitionError: There are none, a file fails (the message has the file and the line), or two views of
            one name and version differ.
    """
    files = sorted(folder.glob("*.py"))
    if not files:
        raise DefinitionError(f"{folder}: no *.py files with definitions")
    found: dict[tuple[str, int], tuple[View, Path]] = {}
    for path, module in zip(files, run_files(files, folder), strict=True):
        for view in _views(module):
            key = (view.name, view.version)
            earlier, where = found.setdefault(key, (view, path))
            differing = difference(meaning(earlier), meaning(view))
            if differing:
                raise DefinitionError(f"{path}: {view}: is another in {where}: {'; '.join(differing)}")
    if not found:
        raise DefinitionError(f"{folder}: no views in {', '.join(path.name for path in files)}")
    return [view for view, _ in found.values()]


def run_files(files: list[Path], folder: Path) -> list[ModuleType]:
    """Run Python files of a folder, which can import the others there by their names.

    Raises:
        DefinitionError: One fails; the message has the file and the line.
    """
    before, writes_no_bytecode = set(sys.modules), sys.dont_write_bytecode
    # Bytecode is taken for current where a file was changed within a second to one of the same length.
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(folder.resolve()))
    try:
        return [sys.modules[path.stem] if _is_loaded(path) else _run_one(path) for path in files]
    finally:
        sys.dont_write_bytecode = writes_no_bytecode
        sys.path.remove(str(folder.resolve()))
        # Another folder may have files of the same names, and these may have changed when read again.
        for name in set(sys.modules) - before:
            if _is_of(sys.modules[name], folder):
                del sys.modules[name]


def _run_one(path: Path) -> ModuleType:
    if path.stem in sys.modules:
        raise DefinitionError(f"{path}: a module {path.stem!r} is there already; name the file otherwise")
    loader = SourceFileLoader(path.stem, str(path.resolve()))
    module = module_from_spec(ModuleSpec(path.stem, loader, origin=str(path.resolve())))
    module.__file__ = str(path.resolve())
    sys.modules[path.stem] = module
    try:
        loader.exec_module(module)
    except Exception as error:
        del sys.modules[path.stem]
        raise DefinitionError(f"{path}:{_line(error, path)}: {error}") from error
    return module


def _line(error: Exception, path: Path) -> int:
    """The line of the file that the error came from, by the innermost of its frames."""
    if isinstance(error, SyntaxError) and error.lineno is not None:
        return error.lineno
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path.resolve()) and frame.lineno]
    return lines[-1] if lines else 1


def _is_loaded(path: Path) -> bool:
    return path.stem in sys.modules and _is_of(sys.modules[path.stem], path.parent)


def _is_of(module: ModuleType, folder: Path) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).parent == folder.resolve()


def _views(module: ModuleType) -> list[View]:
    return [value for value in vars(module).values() if isinstance(value, View)]

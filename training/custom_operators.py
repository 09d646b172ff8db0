"""Models with operators of onnxruntime-extensions: tokenisers, decoders of images, operations on strings."""

import importlib.util
import mmap
from collections.abc import Iterator
from pathlib import Path

from falaj._core import Unsupported

# The domains that the library registers its operators in.
_DOMAINS = frozenset({"ai.onnx.contrib", "com.microsoft.extensions"})

# Of onnx.proto: ModelProto.opset_import, .functions; FunctionProto.opset_import; OperatorSetIdProto.domain.
_OPSET_IMPORT, _FUNCTIONS, _FUNCTION_OPSET_IMPORT, _DOMAIN = 8, 25, 9, 1
# Wire types of protobuf, and how many bytes those of a fixed size have.
_VARINT, _BYTES = 0, 2
_FIXED = {1: 8, 5: 4}

_Span = tuple[int, int]


def custom_operators(model: Path | bytes) -> str:
    """Path of the shared library that a model needs beside ONNX Runtime; empty where it needs none.

    Decided by the domains that it imports, which is all that is read of a file: weights are passed over.

    Raises:
        falaj.Unsupported: It needs onnxruntime-extensions, which is not installed.
        OSError: The file cannot be read.
    """
    domains = sorted(imported_domains(model) & _DOMAINS)
    if not domains:
        return ""
    library = find_extensions()
    if library is None:
        which = "the model" if isinstance(model, bytes) else f"'{model}'"
        raise Unsupported(
            f"{which} has operators of '{domains[0]}', which onnxruntime-extensions brings, and that is not "
            "installed: pip install 'falaj[extensions]'"
        )
    return library


def find_extensions() -> str | None:
    """Path of the library of the installed onnxruntime-extensions, as its `get_library_path()` tells.

    None where it is not installed. The package is not imported: that takes as long as ONNX's own.
    """
    spec = importlib.util.find_spec("onnxruntime_extensions")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        found = sorted(Path(folder).glob("_extensions_pydll*.so"))
        if found:
            return str(found[-1])
    return None


def imported_domains(model: Path | bytes) -> frozenset[str]:
    """Domains that a model and its functions import operators from; "" is ONNX's own.

    Of one that is no ONNX model, or is damaged, those that can be read: loading it tells what is wrong.

    Raises:
        OSError: The file cannot be read.
    """
    if isinstance(model, bytes):
        return frozenset(_imports(model, (0, len(model))))
    if model.stat().st_size == 0:
        return frozenset()
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as held:
        return frozenset(_imports(held, (0, len(held))))


def _imports(held: mmap.mmap | bytes, model: _Span) -> Iterator[str]:
    for number, (start, end) in _messages(held, model):
        if number == _OPSET_IMPORT:
            yield _domain(held, (start, end))
        elif number == _FUNCTIONS:
            for inner, span in _messages(held, (start, end)):
                if inner == _FUNCTION_OPSET_IMPORT:
                    yield _domain(held, span)


def _domain(held: mmap.mmap | bytes, opset: _Span) -> str:
    for number, (start, end) in _messages(held, opset):
        if number == _DOMAIN:
            return held[start:end].decode(errors="replace")
    return ""


def _messages(held: mmap.mmap | bytes, span: _Span) -> Iterator[tuple[int, _Span]]:
    """Number and place of each field of bytes in a message; ends where it is not protobuf."""
    at, end = span
    while at < end:
        tag, at = _varint(held, at, end)
        kind = tag & 7
        if kind == _VARINT:
            _, at = _varint(held, at, end)
        elif kind == _BYTES:
            size, at = _varint(held, at, end)
            if size > end - at:
                return
            yield tag >> 3, (at, at + size)
            at += size
        elif kind in _FIXED:
            at += _FIXED[kind]
        else:
            return


def _varint(held: mmap.mmap | bytes, at: int, end: int) -> tuple[int, int]:
    """A number and where it ends; past the message where it is cut off."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = held[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    return 0, end

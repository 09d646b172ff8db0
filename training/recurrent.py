"""Models with recurrent layers, which ONNX Runtime 1.32 runs on no elements by ending the process."""

import mmap
from pathlib import Path

# NodeProto.op_type, field 4 of onnx.proto, as protobuf writes it: its tag, its length and the text.
_OPERATORS = (b"\x22\x04LSTM", b"\x22\x03GRU")


def has_recurrent_layer(model: bytes | mmap.mmap) -> bool:
    """Whether a serialised ONNX model has an LSTM or GRU node. Weights may have its bytes, too, by chance."""
    return any(model.find(operator) >= 0 for operator in _OPERATORS)


def file_has_recurrent_layer(path: Path) -> bool:
    """As `has_recurrent_layer`, of a file, which is not read into memory."""
    if path.stat().st_size == 0:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as held:
        return has_recurrent_layer(held)

"""Models with recurrent layers, which ONNX Runtime 1.32 runs on no elements by ending the process."""

import mmap
from pathlib import Path

# NodeProto.op_type, field 4 of onnx.proto, as protobuf writes it: its tag, its length and the text.
_OPERATORS = (b"\x22\x04LSTM", b"\x22\x03GRU")


def has_recurrent_layer(model: Path) -> bool:
    """Whether an ONNX file has the bytes of an LSTM or GRU node. Weights may have them too, by chance."""
    if model.stat().st_size == 0:
        return False
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as held:
        return any(held.find(operator) >= 0 for operator in _OPERATORS)

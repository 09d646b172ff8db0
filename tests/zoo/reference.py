"""ONNX Runtime's own answer to a zoo model, through its Python API, with the gaps of that API closed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
from onnx import TensorProto, helper

from tests.zoo.model import Arrays, ZooModel, parse, serialise

_BF16 = "__fp32_of_"  # prefix of the FP32 copy of a BF16 output


class Reference:
    """A session of one model on one CPU thread. Constant after construction, so any thread may call `run`.

    What the Python API of ONNX Runtime lacks, and what is done about it:
    - BF16 in: `run` refuses ml_dtypes.bfloat16 arrays but takes an OrtValue made of their bits;
    - BF16 out: an OrtValue of BF16 has no way back to NumPy, so the model is given a Cast of each BF16 output
      to FP32 (exact) and the result is cast back;
    - BYTES in: an object array of bytes would be sent as their reprs (`b'x'`), so bytes become str first;
    - BYTES out: they arrive as str and are encoded again. Bytes that are not UTF-8 cannot be checked here.
    """

    def __init__(self, model: ZooModel | onnx.ModelProto | bytes | Path) -> None:
        proto, folder = _source(model)
        self._outputs = [output.name for output in proto.graph.output]
        self._bf16_outputs = {
            o.name for o in proto.graph.output if o.type.tensor_type.elem_type == TensorProto.BFLOAT16
        }
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # the traps fail on purpose
        if folder is not None:
            options.add_session_config_entry(
                "session.model_external_initializers_file_folder_path", str(folder)
            )
        self._session = onnxruntime.InferenceSession(
            serialise(_with_fp32_outputs(proto, self._bf16_outputs)),
            options,
            providers=["CPUExecutionProvider"],
        )

    def run(self, inputs: Mapping[str, np.ndarray]) -> Arrays:
        """Run once. BF16 is ml_dtypes.bfloat16; BYTES are object arrays of bytes (or, going in, of str).

        Raises what ONNX Runtime raises, or UnicodeDecodeError for BYTES that are not UTF-8.
        """
        feeds = {name: _feed(array) for name, array in inputs.items()}
        fetches = [_BF16 + name if name in self._bf16_outputs else name for name in self._outputs]
        results = self._session.run(fetches, feeds)
        return {
            name: self._fetched(name, result) for name, result in zip(self._outputs, results, strict=True)
        }

    def _fetched(self, name: str, result: np.ndarray) -> np.ndarray:
        if name in self._bf16_outputs:
            return result.astype(ml_dtypes.bfloat16)
        if result.dtype == np.object_:
            return _map_objects(result, lambda text: text.encode())
        return result


def reference(model: ZooModel | onnx.ModelProto | bytes | Path, inputs: Mapping[str, np.ndarray]) -> Arrays:
    """Load the model, run it once and forget it; keep a Reference to run it more often."""
    return Reference(model).run(inputs)


def _source(model: ZooModel | onnx.ModelProto | bytes | Path) -> tuple[onnx.ModelProto, Path | None]:
    if isinstance(model, ZooModel):
        return parse(model.proto), model.folder
    if isinstance(model, Path):
        return onnx.load(model, load_external_data=False), model.parent
    return parse(model), None


def _with_fp32_outputs(proto: onnx.ModelProto, names: set[str]) -> onnx.ModelProto:
    if not names:
        return proto
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for output in list(copy.graph.output):
        if output.name in names:
            copy.graph.node.append(
                helper.make_node("Cast", [output.name], [_BF16 + output.name], to=TensorProto.FLOAT)
            )
            copy.graph.output.append(
                helper.make_tensor_value_info(_BF16 + output.name, TensorProto.FLOAT, None)
            )
    return copy


def _feed(array: np.ndarray) -> Any:
    if array.dtype == ml_dtypes.bfloat16:
        bits = np.ascontiguousarray(array).view(np.uint16)
        return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, TensorProto.BFLOAT16)
    if array.dtype == np.object_:
        return _map_objects(array, lambda item: item.decode() if isinstance(item, bytes) else item)
    return array


def _map_objects(array: np.ndarray, function: Any) -> np.ndarray:
    mapped = np.empty(array.shape, dtype=np.object_)
    for index in np.ndindex(array.shape):
        mapped[index] = function(array[index])
    return mapped

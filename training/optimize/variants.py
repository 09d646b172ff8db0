"""How each variant is made of a model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from falaj.training.custom_operators import custom_operators
from falaj.training.errors import TrainingError
from falaj.training.optimize.calibration import quantise_statically
from falaj.training.optimize.quiet import quantiser_quiet
from falaj.training.original import Arrays

if TYPE_CHECKING:
    from onnx import ModelProto

_INT8 = {"DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "QAttention", "DynamicQuantizeLSTM"}
# What INT8 and FP16 are for, where one of the factors is constant.
_PRODUCTS = {"MatMul", "Gemm", "Conv", "ConvTranspose", "Attention", "LSTM", "GRU"}
# Products with constants: what dynamic INT8 makes faster. Its convolutions are slower than those of FP32.
_DYNAMIC = ["MatMul", "Gemm", "Attention", "LSTM"]
# ONNX Runtime 1.32 ends the process when it optimises some encoders that have these in FP16.
_NOT_HALF = ["Gelu"]


class NotApplicable(Exception):
    """A variant that cannot be made of this model; the message says why."""


@dataclass(frozen=True)
class Start:
    """What variants are made of.

    Attributes:
        source: The model.
        prepared: The same with constants folded, batch normalisation merged into convolutions, and shapes.
        calibration: Rows that are like those to be served.
        answers: The original's to them.
        folder: For files in between.
    """

    source: Path
    prepared: Path
    calibration: Arrays
    answers: Mapping[str, NDArray[Any]]
    folder: Path


@dataclass(frozen=True)
class Variant:
    """A kind of variant.

    Attributes:
        make: Writes it to a path and returns how it was made; raises NotApplicable.
        portable: Whether it is right on machines with another processor.
    """

    name: str
    make: Callable[[Start, Path], str]
    portable: bool = True


def prepare(source: Path, folder: Path) -> Path:
    """Write the model as conversions want it, and return where.

    Raises:
        TrainingError: It cannot be optimised at all.
    """
    with quantiser_quiet():
        from onnxruntime.quantization.shape_inference import quant_pre_process

        prepared = folder / "prepared.onnx"
        try:
            quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        except Exception as error:
            raise TrainingError(f"{source.name}: cannot be prepared for variants: {error}") from error
    _flatten_biases(prepared)
    return prepared


def _flatten_biases(path: Path) -> None:
    """Make [1, n] constants that are added in a Gemm [n], which is the same; quantisers know only these."""
    import onnx

    model = onnx.load(path)
    biases = {node.input[2] for node in model.graph.node if node.op_type == "Gemm" and len(node.input) > 2}
    others = {
        name
        for node in model.graph.node
        for place, name in enumerate(node.input)
        if node.op_type != "Gemm" or place != 2
    }
    for tensor in model.graph.initializer:
        if tensor.name in biases - others and len(tensor.dims) == 2 and tensor.dims[0] == 1:
            del tensor.dims[0]
    for told in [info for info in model.graph.value_info if info.name in biases]:
        model.graph.value_info.remove(told)  # shapes that hold no more
    onnx.save(model, path)


def chosen_variants(names: tuple[str, ...] | None) -> tuple[Variant, ...]:
    """Return the variants of these names; by default those that are portable.

    Raises:
        TrainingError: There is none of a name.
    """
    if names is None:
        return tuple(variant for variant in VARIANTS if variant.portable)
    known = {variant.name: variant for variant in VARIANTS}
    for name in names:
        if name not in known:
            raise TrainingError(f"variants: expected some of {', '.join(known)}, got {name!r}")
    return tuple(known[name] for name in dict.fromkeys(names))


def _graph(level: str) -> Callable[[Start, Path], str]:
    def make(start: Start, out: Path) -> str:
        with quantiser_quiet():
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.graph_optimization_level = getattr(
                onnxruntime.GraphOptimizationLevel, f"ORT_ENABLE_{level.upper()}"
            )
            options.optimized_model_filepath = str(out)
            if library := custom_operators(start.source):
                options.register_custom_ops_library(library)
            options.log_severity_level = 3  # that the level is for this machine is told by the variant
            onnxruntime.InferenceSession(str(start.source), options, providers=["CPUExecutionProvider"])
        return f"saved by ONNX Runtime {onnxruntime.__version__} after its optimisations of level {level}"

    return make


def _half(start: Start, out: Path) -> str:
    import onnx

    _check_products(start.prepared)
    with quantiser_quiet():
        from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

        made = convert_float_to_float16(
            onnx.load(start.prepared), keep_io_types=True, op_block_list=[*DEFAULT_OP_BLOCK_LIST, *_NOT_HALF]
        )
    if not _has_half(made):
        raise NotApplicable("nothing in it became FP16")
    onnx.save(made, out)
    return "weights and arithmetic in FP16; inputs and outputs as they were"


def _dynamic(per_channel: bool) -> Callable[[Start, Path], str]:
    def make(start: Start, out: Path) -> str:
        _check_products(start.prepared)
        with quantiser_quiet():
            from onnxruntime.quantization import QuantType, quantize_dynamic

            quantize_dynamic(
                str(start.prepared),
                str(out),
                op_types_to_quantize=_DYNAMIC,
                per_channel=per_channel,
                weight_type=QuantType.QInt8,
            )
        _check_quantised(out)
        scale = "channel" if per_channel else "tensor"
        return f"weights INT8 by {scale}; activations UINT8, by the range of each batch"

    return make


def _static(weights_only: bool) -> Callable[[Start, Path], str]:
    def make(start: Start, out: Path) -> str:
        _check_products(start.prepared)
        how = quantise_statically(
            start.prepared, out, start.calibration, start.answers, start.folder, weights_only=weights_only
        )
        _check_quantised(out)
        return how

    return make


def _check_products(prepared: Path) -> None:
    import onnx

    graph = onnx.load(prepared).graph
    constant = {tensor.name for tensor in graph.initializer}
    if not any(node.op_type in _PRODUCTS and constant.intersection(node.input) for node in graph.node):
        raise NotApplicable("no product or convolution with constants in it")


def _check_quantised(path: Path) -> None:
    import onnx

    if not any(node.op_type in _INT8 for node in onnx.load(path).graph.node):
        raise NotApplicable("nothing in it became INT8")


def _has_half(model: "ModelProto") -> bool:
    from onnx import TensorProto

    return any(tensor.data_type == TensorProto.FLOAT16 for tensor in model.graph.initializer)


VARIANTS: tuple[Variant, ...] = (
    Variant("graph-basic", _graph("basic")),
    Variant("graph-extended", _graph("extended")),
    Variant("graph-all", _graph("all"), portable=False),
    Variant("fp16", _half),
    Variant("int8-dynamic", _dynamic(per_channel=False)),
    Variant("int8-dynamic-channel", _dynamic(per_channel=True)),
    Variant("int8-static", _static(weights_only=False)),
    Variant("int8-static-weights", _static(weights_only=True)),
)

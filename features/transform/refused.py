"""Operations of the array API that a transform cannot have, each with why."""

from collections.abc import Mapping
from types import MappingProxyType

_ROWS = "looks at other rows of the batch, which at serving are of other requests"
_ACROSS = (
    "sum prod mean std var max min argmax argmin any all count_nonzero cumulative_sum cumulative_prod "
    "diff sort argsort searchsorted unique_all unique_counts unique_inverse unique_values nonzero take "
    "take_along_axis roll flip concat stack repeat tile matmul tensordot vecdot"
)
# Measured on ONNX Runtime 1.32 and NumPy 2.4.
_PLACED = (
    "NumPy and ONNX Runtime round it differently, and ONNX Runtime differently by the place in the batch"
)
_NO_KERNEL = "ONNX has no operation for it"

REFUSED: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(_ACROSS.split(), _ROWS),
        **dict.fromkeys(
            ("asarray", "arange", "linspace", "zeros", "ones", "full", "eye", "zeros_like", "ones_like"),
            "there is no need of it: a plain number goes with a column",
        ),
        **dict.fromkeys(("log", "sin", "cos", "asin", "atan"), _PLACED),
        "pow": "its last bits are those of the C library; write x * x for a square, xp.sqrt(x) for a root",
        **dict.fromkeys(("expm1", "log1p", "log2", "log10", "logaddexp", "hypot"), _NO_KERNEL),
        **dict.fromkeys(("nextafter", "copysign", "signbit"), _NO_KERNEL),
        **dict.fromkeys(
            ("bitwise_left_shift", "bitwise_right_shift"), "a shift by the width or more is undefined"
        ),
    }
)

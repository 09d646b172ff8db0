"""Static INT8: the ranges of activations from rows, by the method whose model answers best."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.export.original import Arrays
from falaj.training.optimize.candidate import rows_of, taken
from falaj.training.optimize.quality import agreement_of
from falaj.training.optimize.quiet import quantiser_quiet

METHODS = ("MinMax", "Percentile", "Entropy")
_STRIDE = 32  # rows whose activations are in memory at a time
_WITH_WEIGHTS = ["MatMul", "Gemm", "Conv", "ConvTranspose"]


def quantise_statically(
    prepared: Path,
    out: Path,
    rows: Arrays,
    answers: Mapping[str, NDArray[Any]],
    folder: Path,
    *,
    weights_only: bool,
) -> str:
    """Write the model in INT8 with its scales fixed, and return how they were found.

    Activations UINT8 with a zero point, weights INT8 by channel: what AVX-512 VNNI multiplies in one
    instruction. A scale for each channel keeps small channels exact and costs nothing that was measured.

    Args:
        rows: To calibrate with: all methods are tried, and the one is taken whose answers to the same rows
            are nearest (root mean square) to `answers`, the original's.
        weights_only: Whether only products and convolutions with constants are quantised; the others, as
            those of attention, stay as they are.

    Raises:
        Exception: ONNX Runtime's, where it cannot quantise the model.
    """
    found: dict[str, float] = {}
    for method in METHODS:
        path = folder / f"{out.stem}-{method}.onnx"
        _quantise(prepared, path, rows, method, weights_only)
        found[method] = _error(path, rows, answers)
    best = min(METHODS, key=lambda method: found[method])
    shutil.copyfile(folder / f"{out.stem}-{best}.onnx", out)
    errors = ", ".join(f"{method} {error:.4f}" for method, error in found.items())
    return (
        f"weights INT8 by channel; activations UINT8, ranges by {best} of {rows_of(rows)} rows "
        f"(root mean square errors on them: {errors})"
    )


def _quantise(prepared: Path, out: Path, rows: Arrays, method: str, weights_only: bool) -> None:
    with quantiser_quiet():
        from onnxruntime.quantization import CalibrationMethod, QuantType, quantize_static

        quantize_static(
            str(prepared),
            str(out),
            _Reader(rows),
            calibrate_method=getattr(CalibrationMethod, method),
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=_WITH_WEIGHTS if weights_only else None,
            extra_options={
                "CalibStridedMinMax": min(_STRIDE, rows_of(rows)),
                "MatMulConstBOnly": weights_only,
            },
        )


def _error(path: Path, rows: Arrays, answers: Mapping[str, NDArray[Any]]) -> float:
    """Root mean square error over the outputs that are numbers; share of other labels where none is."""
    from falaj import _core
    from falaj.training.onnxruntime_library import find_onnxruntime
    from falaj.training.optimize.candidate import as_given

    backend = _core.load_onnx(find_onnxruntime(), str(path), 1, [], {}, "all", False)
    given = backend.run(taken(rows, 0, rows_of(rows)), as_given)
    agreement = agreement_of(answers, given, scores_decide=False)
    numbers = [of.rms_error for of in agreement if of.rms_error is not None]
    return float(np.mean(numbers or [of.flips or 0.0 for of in agreement]))


class _Reader:
    """Rows as the calibration reads them: a stretch, then its end. See CalibrationDataReader."""

    def __init__(self, rows: Arrays) -> None:
        self._rows = rows
        self.set_range(0, rows_of(rows))

    def __len__(self) -> int:
        return rows_of(self._rows)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Begin anew with the rows from one place up to another."""
        self._left = iter([taken(self._rows, start_index, end_index)])

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """Return the next rows; None when all were given."""
        return next(self._left, None)

    def __iter__(self) -> Iterator[dict[str, NDArray[Any]]]:
        return self._left

"""Static INT8: the ranges of activations from rows, by the method whose model answers best."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.optimize.candidate import rows_of, taken
from falaj.training.optimize.quality import agreement_of
from falaj.training.optimize.quiet import quantiser_quiet
from falaj.training.original import Arrays

METHODS = ("MinMax", "Percentile", "Entropy")
_CHUNK = 32  # rows whose activations are in memory at a time
_WITH_WEIGHTS = ["MatMul", "Gemm", "Conv", "ConvTranspose"]


def quantise_statically(
    prepared: Path,
    out: Path,
    rows: Arrays,
    answers: Mapping[str, NDArray[Any]],
    folder: Path,
    *,
    weights_only: bool,
    methods: Sequence[str] = METHODS,
) -> str:
    """Write the model in INT8 with its scales fixed, and return how they were found.

    Activations UINT8 with a zero point, weights INT8 by channel: what AVX-512 VNNI multiplies in one
    instruction. A scale for each channel keeps small channels exact and costs nothing that was measured.

    Args:
        rows: To calibrate with: all methods are tried, and the one is taken whose answers to the same rows
            are nearest (root mean square) to `answers`, the original's.
        weights_only: Whether only products and convolutions with constants are quantised; the others, as
            those of attention, stay as they are.
        methods: Names of ONNX Runtime's CalibrationMethod.

    Raises:
        Exception: ONNX Runtime's, where it can quantise the model by no method.
    """
    found: dict[str, float] = {}
    refused: dict[str, Exception] = {}
    for method in methods:
        path = folder / f"{out.stem}-{method}.onnx"
        try:
            _quantise(prepared, path, rows, method, weights_only)
            found[method] = _error(path, rows, answers)
        except Exception as error:  # as of histograms where a tensor has NaN
            refused[method] = error
    if not found:
        raise refused[methods[0]]
    best = min(found, key=lambda method: found[method])
    shutil.copyfile(folder / f"{out.stem}-{best}.onnx", out)
    errors = ", ".join(
        f"{method} {found[method]:.4f}" if method in found else f"{method} cannot" for method in methods
    )
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
                "CalibStridedMinMax": 1,  # chunks at a time
                "MatMulConstBOnly": weights_only,
            },
        )


def _error(path: Path, rows: Arrays, answers: Mapping[str, NDArray[Any]]) -> float:
    """Root mean square error over the outputs that are numbers; share of other labels where none is."""
    from falaj.training.onnx_backend import load_onnx
    from falaj.training.optimize.candidate import as_given

    backend = load_onnx(path)
    given = backend.run(taken(rows, 0, rows_of(rows)), as_given)
    agreement = agreement_of(answers, given, scores_decide=False)
    numbers = [of.rms_error for of in agreement if of.rms_error is not None]
    return float(np.mean(numbers or [of.flips or 0.0 for of in agreement]))


class _Reader:
    """Rows as the calibration reads them: in chunks, which it counts. See CalibrationDataReader."""

    def __init__(self, rows: Arrays) -> None:
        self._rows = rows
        self.set_range(0, len(self))

    def __len__(self) -> int:
        return -(-rows_of(self._rows) // _CHUNK)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Begin anew with the chunks from one place up to another."""
        places = range(start_index, end_index)
        self._left = iter([taken(self._rows, at * _CHUNK, (at + 1) * _CHUNK) for at in places])

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """Return the next chunk; None when all were given."""
        return next(self._left, None)

    def __iter__(self) -> Iterator[dict[str, NDArray[Any]]]:
        return self._left

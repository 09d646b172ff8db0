"""Calibration: what makes better probabilities of scores, see `Calibration`."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from falaj.training.errors import TrainingError
from falaj.training.tabular import Calibration

_EDGE = 1e-7
_STEPS = 100


def fit_calibration(
    method: Literal["sigmoid", "isotonic"], scores: NDArray[np.float64], is_second: NDArray[np.bool_]
) -> Calibration:
    """Fit a calibration.

    `sigmoid` is the maximum of the likelihood, found by Newton's steps (Platt 1999, without his smoothing of
    the targets); `isotonic` the least squares among functions that never fall.

    Args:
        scores: Of the second class, FP64 [rows].
        is_second: Whether each row is of it.

    Raises:
        TrainingError: The rows are all of one class; or they are told apart without an error, so that the
            slope has no end.
    """
    if is_second.all() or not is_second.any():
        raise TrainingError("calibration: the validation rows are all of one class")
    first, second = scores[~is_second], scores[is_second]
    if method == "sigmoid" and (first.max() <= second.min() or second.max() <= first.min()):
        raise TrainingError(
            "calibration: the scores tell the classes of the validation rows apart without an error, so that "
            "no sigmoid fits best; leave [calibration] out, or have more validation rows"
        )
    if method == "sigmoid":
        slope, offset = _platt(logit(scores), is_second.astype(np.float64))
        return Calibration("sigmoid", slope, offset)
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(scores, is_second)
    return Calibration("isotonic", knots=fitted.X_thresholds_, values=fitted.y_thresholds_)


def calibrated(calibration: Calibration, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what scores of the second class become, FP64."""
    if calibration.method == "sigmoid":
        z = calibration.slope * logit(scores) + calibration.offset
        made: NDArray[np.float64] = 1 / (1 + np.exp(-z))
        return made
    return np.interp(scores, calibration.knots, calibration.values)


def logit(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log(s / (1 - s)), s kept within 1e-7 of 0 and 1."""
    kept = np.clip(scores, _EDGE, 1 - _EDGE)
    made: NDArray[np.float64] = np.log(kept) - np.log1p(-kept)
    return made


def _platt(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    design = np.stack([x, np.ones_like(x)], axis=1)
    at = np.array([1.0, 0.0])
    loss = _loss(design @ at, y)
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-(design @ at)))
        gradient = design.T @ (p - y)
        curvature = (design * (p * (1 - p))[:, None]).T @ design
        try:
            step = np.linalg.solve(curvature, gradient)
        except np.linalg.LinAlgError:
            break
        size = 1.0
        while (tried := _loss(design @ (at - size * step), y)) > loss and size > 1e-10:
            size /= 2
        at, before, loss = at - size * step, loss, tried
        if before - loss <= 1e-12 * max(1.0, abs(before)):
            return float(at[0]), float(at[1])
    raise TrainingError(f"calibration: no sigmoid was found in {_STEPS} steps")


def _loss(z: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    return float(np.sum(np.logaddexp(0, z) - y * z))

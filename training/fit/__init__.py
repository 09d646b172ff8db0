"""Fit models from a specification: data, splits, metrics, tuning."""

from falaj.training.fit.spec import (
    CalibrationSpec,
    DataSpec,
    MetricsSpec,
    ModelSpec,
    SplitSpec,
    TrainSpec,
    TuningSpec,
)

__all__ = [
    "CalibrationSpec",
    "DataSpec",
    "MetricsSpec",
    "ModelSpec",
    "SplitSpec",
    "TrainSpec",
    "TuningSpec",
]

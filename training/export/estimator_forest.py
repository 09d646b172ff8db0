"""The trees of whatever estimator has some."""

from typing import Any

from falaj.training.export.forest import Forest
from falaj.training.export.library import family_of


def forest_of(estimator: Any) -> Forest | None:
    """Return the trees of a fitted estimator; None if it is no forest, or one that has to be converted.

    Raises:
        TrainingError: It has trees of a kind that no graph can hold.
    """
    family = family_of(estimator)
    if family == "lightgbm":
        from falaj.training.export.lightgbm_forest import lightgbm_forest

        return lightgbm_forest(booster_of(estimator))
    return None


def booster_of(estimator: Any) -> Any:
    """Return the booster of LightGBM's and XGBoost's estimators, or what is one already."""
    if hasattr(estimator, "booster_"):
        return estimator.booster_
    return estimator.get_booster() if hasattr(estimator, "get_booster") else estimator

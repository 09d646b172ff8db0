"""The trees of whatever estimator has some."""

from typing import Any

from falaj.training.graph.forest import Forest
from falaj.training.library import family_of


def forest_of(estimator: Any) -> Forest | None:
    """Return the trees of a fitted estimator; None if it is no forest, or one that has to be converted.

    Raises:
        TrainingError: It has trees of a kind that no graph can hold.
    """
    family = family_of(estimator)
    if family == "lightgbm":
        from falaj.training.graph.lightgbm_forest import lightgbm_forest

        return lightgbm_forest(booster_of(estimator))
    if family == "xgboost":
        from falaj.training.graph.xgboost_forest import xgboost_forest

        return xgboost_forest(booster_of(estimator))
    if family == "catboost":
        from falaj.training.graph.catboost_forest import catboost_forest

        return catboost_forest(estimator)
    if family == "sklearn":
        from falaj.training.graph.sklearn_forest import sklearn_forest

        return sklearn_forest(estimator)
    return None


def category_texts(estimator: Any) -> list[list[str]]:
    """Return the texts, by their codes, of each category of a DataFrame that a model codes itself."""
    family = family_of(estimator)
    if family == "lightgbm":
        return list(booster_of(estimator).pandas_categorical or [])
    if family == "xgboost":
        from falaj.training.graph.xgboost_forest import xgboost_categories

        return xgboost_categories(booster_of(estimator))
    if family == "sklearn":
        from falaj.training.graph.sklearn_forest import hist_texts

        return hist_texts(estimator)
    return []


def booster_of(estimator: Any) -> Any:
    """Return the booster of LightGBM's and XGBoost's estimators, or what is one already.

    XGBoost's estimators predict up to their best iteration, its boosters with all that they have.
    """
    if hasattr(estimator, "booster_"):
        return estimator.booster_
    if not hasattr(estimator, "get_booster"):
        return estimator
    booster = estimator.get_booster()
    best = booster.attr("best_iteration")
    return booster if best is None else booster[: int(best) + 1]

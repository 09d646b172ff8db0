"""Pipelines of scikit-learn on DataFrames: numbers, categories and text, each by its own transformers."""

import warnings
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np

from falaj.training.graph.convert import to_onnx
from falaj.training.graph.pipeline_original import original_of_pipeline
from tests.training.gate.combinations import Combination, Exported
from tests.training.gate.matrix_data import read

FLIGHT_NUMBERS = ["sched_dep_time", "distance", "air_time"]
WEATHER = ["dewp", "humid", "wind_dir", "wind_speed", "pressure"]


@cache
def flights() -> tuple[Any, Any]:
    """Scheduled flights as they are in the file, and which were more than 15 minutes late."""
    frame = read("flights.csv.zip", 40_000).dropna(subset=["dep_delay"]).iloc[::120].reset_index(drop=True)
    late = np.where(frame["dep_delay"] > 15, "late", "on time").astype(object)
    return frame[[*FLIGHT_NUMBERS, "carrier", "origin", "dest", "dep_delay"]], late


@cache
def airports() -> tuple[Any, Any]:
    """Airports by their names and places, and the zone of their clocks."""
    frame = read("airports.csv").iloc[::4].reset_index(drop=True)
    zones = frame["tz"].clip(-10, -5).astype(int).to_numpy()
    return frame[["name", "lat", "alt"]], zones


@cache
def weather() -> tuple[Any, Any]:
    frame = read("weather.csv").dropna(subset=["temp"]).iloc[::90].reset_index(drop=True)
    return frame[[*WEATHER, "origin"]], frame["temp"].to_numpy()


def exported(make: Callable[[], Any], data: Callable[[], tuple[Any, Any]], columns: list[str]) -> Exported:
    frame, target = data()
    frame = frame[columns]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some do not converge on so few rows
        model = make().fit(frame, target)
    original = original_of_pipeline(model, frame)
    rows = original.model.columns.arrays(frame)
    return Exported(original, to_onnx(original), rows)


def _steps(numbers: Any, names: list[str], texts: dict[Any, Any], last: Any) -> Any:
    from sklearn import compose, pipeline

    parts = [("numbers", numbers, names)] if names else []
    parts += [
        (str(i), step, list(on) if isinstance(on, tuple) else on)
        for i, (on, step) in enumerate(texts.items())
    ]
    return pipeline.make_pipeline(compose.ColumnTransformer(parts), last)


def _filled_and_scaled() -> Any:
    from sklearn import impute, pipeline, preprocessing

    return pipeline.make_pipeline(impute.SimpleImputer(), preprocessing.StandardScaler())


def _flights(last: Any, encoder: Any = None, numbers: Any = None) -> Any:
    from sklearn.preprocessing import OneHotEncoder

    encoder = encoder or OneHotEncoder(handle_unknown="ignore")
    names = FLIGHT_NUMBERS
    return _steps(numbers or _filled_and_scaled(), names, {("carrier", "origin", "dest"): encoder}, last)


def logistic() -> Any:
    from sklearn.linear_model import LogisticRegression

    return _flights(LogisticRegression(max_iter=500))


def perceptron() -> Any:
    from sklearn.neural_network import MLPClassifier

    return _flights(MLPClassifier((12,), max_iter=50, random_state=0))


def support() -> Any:
    from sklearn.svm import LinearSVC

    return _flights(LinearSVC(random_state=0))


def neighbours() -> Any:
    from sklearn.neighbors import KNeighborsClassifier

    return _flights(KNeighborsClassifier(7))


def rare_one_hot() -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import OneHotEncoder

    encoder = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=10)
    return _flights(LogisticRegression(max_iter=500), encoder)


def scaled_forest() -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return _flights(RandomForestClassifier(10, max_depth=7, random_state=0))


def ordinal_lightgbm() -> Any:
    from lightgbm import LGBMClassifier
    from sklearn.preprocessing import OrdinalEncoder

    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    model = LGBMClassifier(n_estimators=15, num_leaves=8, verbose=-1, n_jobs=1)
    return _flights(model, encoder, "passthrough")


def scaled_xgboost() -> Any:
    from sklearn.preprocessing import RobustScaler
    from xgboost import XGBRegressor

    return _weather(XGBRegressor(n_estimators=15, max_depth=4, n_jobs=1), RobustScaler())


def _weather(last: Any, numbers: Any) -> Any:
    from sklearn.preprocessing import OneHotEncoder

    return _steps(numbers, WEATHER, {("origin",): OneHotEncoder()}, last)


def powers_ridge() -> Any:
    from sklearn import impute, linear_model, pipeline, preprocessing

    numbers = pipeline.make_pipeline(
        impute.SimpleImputer(strategy="median", add_indicator=True),
        preprocessing.StandardScaler(),
        preprocessing.PolynomialFeatures(2),
    )
    return _weather(linear_model.Ridge(), numbers)


def bins_lasso() -> Any:
    from sklearn import impute, linear_model, pipeline, preprocessing

    numbers = pipeline.make_pipeline(
        impute.SimpleImputer(),
        preprocessing.KBinsDiscretizer(5, quantile_method="averaged_inverted_cdf"),
    )
    return _weather(linear_model.Lasso(0.01), numbers)


def words(last: Any = None) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    last = last or LogisticRegression(max_iter=300)
    return _steps(None, [], {"name": TfidfVectorizer(min_df=2)}, last)


def words_bayes() -> Any:
    from sklearn.naive_bayes import MultinomialNB

    return words(MultinomialNB())


def words_and_places() -> Any:
    from lightgbm import LGBMClassifier
    from sklearn.feature_extraction.text import CountVectorizer

    counts = CountVectorizer(ngram_range=(1, 2), min_df=3)
    model = LGBMClassifier(n_estimators=8, num_leaves=8, verbose=-1, n_jobs=1)
    return _steps(_filled_and_scaled(), ["lat", "alt"], {"name": counts}, model)


def pipelines() -> tuple[Combination, ...]:
    carriers = ["carrier", "origin", "dest"]
    on_flights = {
        "one hot, logistic regression": logistic,
        "rare one hot, logistic regression": rare_one_hot,
        "one hot, perceptron": perceptron,
        "one hot, linear support vectors": support,
        "one hot, nearest neighbours": neighbours,
        "scaler, one hot, forest": scaled_forest,
        "ordinal, LightGBM": ordinal_lightgbm,
    }
    on_weather = {
        "powers, ridge": powers_ridge,
        "bins, lasso": bins_lasso,
        "scaler, XGBoost": scaled_xgboost,
    }
    of_airports: dict[str, tuple[Any, list[str]]] = {
        "TF-IDF, logistic regression": (words, ["name"]),
        "TF-IDF, naive Bayes": (words_bayes, ["name"]),
        "word pairs, scaler, LightGBM": (words_and_places, ["name", "lat", "alt"]),
    }
    return (
        *(
            Combination(
                name,
                "flights",
                partial(exported, make, flights, [*FLIGHT_NUMBERS, *carriers]),
                "skl2onnx does not write it" if make is neighbours else "",
            )
            for name, make in on_flights.items()
        ),
        *(
            Combination(name, "weather", partial(exported, make, weather, [*WEATHER, "origin"]))
            for name, make in on_weather.items()
        ),
        *(
            Combination(name, "airports", partial(exported, make, airports, columns))
            for name, (make, columns) in of_airports.items()
        ),
    )

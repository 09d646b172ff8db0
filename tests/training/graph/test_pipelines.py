"""scikit-learn's pipelines on DataFrames answer as graphs what scikit-learn answers."""

from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn import (
    compose,
    decomposition,
    ensemble,
    feature_extraction,
    feature_selection,
    impute,
    linear_model,
    model_selection,
    pipeline,
    preprocessing,
    svm,
)

from falaj.training.errors import TrainingError
from falaj.training.graph.convert import to_onnx
from falaj.training.graph.pipeline_original import original_of_pipeline
from falaj.training.graph.target import Target
from tests.training.graph.answers import answer, assert_alike

pytestmark = pytest.mark.filterwarnings("ignore:Found unknown categories")
_CITIES = ("Dubai", "Abu Dhabi", "العين", "Fès")
_TEXTS = (
    "Late again, LATE again: 40 minutes",
    "on time",
    "the crew didn't say why it was late",
    "",
    "كان في الوقت المحدد",
    "a b c 12 a_b",
)


def _rows(rows: int = 300, seed: int = 0, unseen: bool = False) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": random.normal(40, 10, rows),
            "income": random.lognormal(3, 1, rows),
            "visits": random.integers(0, 6, rows),
            "member": random.random(rows) < 0.5,
            "city": random.choice(_CITIES, rows, p=[0.5, 0.3, 0.15, 0.05]),
            "plan": random.choice(["basic", "", "Basic"], rows),
            "note": random.choice(_TEXTS, rows),
        }
    )
    frame.loc[random.random(rows) < 0.1, "age"] = np.nan
    frame.loc[random.random(rows) < 0.1, "city"] = None
    if unseen:
        frame.loc[random.random(rows) < 0.2, "city"] = "Atlantis"
        frame.loc[random.random(rows) < 0.2, "plan"] = " basic"
        frame.loc[random.random(rows) < 0.2, "visits"] = 17
        frame.loc[random.random(rows) < 0.2, "note"] = "never read words, late"
    return frame


def _target(frame: pd.DataFrame) -> Any:
    late = frame["note"].str.contains("late", case=False)
    random = np.random.default_rng(1)
    return frame["age"].fillna(50) / 10 + frame["visits"] + 2 * late + random.normal(size=len(frame))


_ENCODED = {"handle_unknown": "use_encoded_value", "unknown_value": -1}
_TEXT = feature_extraction.text
_TRANSFORMERS: dict[str, tuple[Any, Any]] = {
    "standard": (preprocessing.StandardScaler(), ["income", "visits"]),
    "uncentred": (preprocessing.StandardScaler(with_mean=False), ["income"]),
    "min max": (preprocessing.MinMaxScaler(clip=True), ["income"]),
    "robust": (preprocessing.RobustScaler(), ["income"]),
    "max abs": (preprocessing.MaxAbsScaler(), ["income", "member"]),
    "normal": (preprocessing.Normalizer(), ["income", "visits"]),
    "sums": (preprocessing.Normalizer("l1"), ["income", "visits"]),
    "powers": (preprocessing.PolynomialFeatures(2), ["income", "visits"]),
    "interactions": (preprocessing.PolynomialFeatures(2, interaction_only=True), ["income", "visits"]),
    "components": (decomposition.PCA(1, whiten=True), ["income", "visits"]),
    "logarithm": (preprocessing.FunctionTransformer(np.log1p), ["income"]),
    "passed": ("passthrough", ["income", "member"]),
    "filled": (impute.SimpleImputer(strategy="median", add_indicator=True), ["age", "income"]),
    "filled text": (
        pipeline.make_pipeline(
            impute.SimpleImputer(strategy="most_frequent"),
            preprocessing.OneHotEncoder(handle_unknown="ignore"),
        ),
        ["city"],
    ),
    "filled text that is None": (
        pipeline.make_pipeline(
            impute.SimpleImputer(missing_values=None, strategy="constant", fill_value="nowhere"),
            preprocessing.OneHotEncoder(handle_unknown="ignore"),
        ),
        ["city"],
    ),
    "one hot": (preprocessing.OneHotEncoder(handle_unknown="ignore"), ["city", "plan"]),
    "one hot of numbers": (preprocessing.OneHotEncoder(handle_unknown="ignore"), ["visits", "member"]),
    "one hot of rare": (
        preprocessing.OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=0.2),
        ["city", "visits"],
    ),
    "one hot without the first": (
        preprocessing.OneHotEncoder(handle_unknown="ignore", drop="first"),
        ["city", "plan"],
    ),
    "ordinal": (
        preprocessing.OrdinalEncoder(encoded_missing_value=-2, **_ENCODED),
        ["city", "plan", "visits"],
    ),
    "ordinal of rare": (
        preprocessing.OrdinalEncoder(encoded_missing_value=-2, min_frequency=0.2, **_ENCODED),
        ["plan"],
    ),
    "means": (preprocessing.TargetEncoder(target_type="continuous"), ["city", "visits"]),
    "bins": (preprocessing.KBinsDiscretizer(4, quantile_method="averaged_inverted_cdf"), ["income"]),
    "bin numbers": (
        preprocessing.KBinsDiscretizer(4, encode="ordinal", strategy="uniform"),
        ["income", "visits"],
    ),
    "words": (_TEXT.CountVectorizer(), "note"),
    "pairs": (_TEXT.CountVectorizer(ngram_range=(1, 2), binary=True), "note"),
    "weighed words": (_TEXT.TfidfVectorizer(sublinear_tf=True), "note"),
    "exact words": (_TEXT.TfidfVectorizer(lowercase=False, norm="l1", stop_words="english"), "note"),
    "chosen": (feature_selection.SelectKBest(feature_selection.f_regression, k=1), ["income", "visits"]),
    "left to skl2onnx": (preprocessing.PowerTransformer(), ["income"]),
}


@pytest.mark.parametrize("name", _TRANSFORMERS)
def test_values_are_alike_when_a_transformer_comes_first(name: str) -> None:
    transformer, columns = _TRANSFORMERS[name]
    frame = _rows()
    step = compose.ColumnTransformer([("step", transformer, columns)])
    model = pipeline.make_pipeline(step, linear_model.Ridge(1e-3)).fit(frame, _target(frame))
    original = original_of_pipeline(model, frame)
    arrays = original.model.columns.arrays(_rows(seed=3, unseen=True))
    within = 1e-5 if name == "left to skl2onnx" else 3e-7
    assert_alike(original, arrays, within=within)
    np.testing.assert_allclose(
        original.predict(original.model.columns.arrays(frame))["prediction"][:, 0],
        model.predict(frame),
        rtol=1e-4,
    )


def _columns() -> compose.ColumnTransformer:
    return compose.ColumnTransformer(
        [
            (
                "numbers",
                pipeline.make_pipeline(impute.SimpleImputer(), preprocessing.StandardScaler()),
                ["age", "income", "visits"],
            ),
            ("city", preprocessing.OneHotEncoder(handle_unknown="ignore"), ["city", "plan"]),
            ("note", _TEXT.TfidfVectorizer(), "note"),
        ],
        remainder="passthrough",
    )


_ESTIMATORS = {
    "logistic": linear_model.LogisticRegression(max_iter=300),
    "decision": svm.LinearSVC(random_state=0),
    "forest": ensemble.RandomForestClassifier(20, max_depth=6, random_state=0),
    "boosted": ensemble.GradientBoostingClassifier(n_estimators=15),
    "lightgbm": lightgbm.LGBMClassifier(n_estimators=15, verbose=-1, n_jobs=1),
    "xgboost": xgboost.XGBClassifier(n_estimators=15, max_depth=4, n_jobs=1),
    "support": svm.SVC(kernel="linear", probability=True, random_state=0),
}


@pytest.mark.filterwarnings("ignore:.*probability.*:FutureWarning")
@pytest.mark.parametrize("kind", ["binary", "many"])
@pytest.mark.parametrize("name", _ESTIMATORS)
def test_classes_are_alike_when_columns_of_all_kinds_come_first(name: str, kind: str) -> None:
    frame = _rows()
    target = _target(frame)
    labels = np.digitize(target, [7.0] if kind == "binary" else [6.0, 8.5])
    if name != "xgboost":
        labels = np.array(["early", "fine", "late"], object)[labels]
    model = pipeline.make_pipeline(_columns(), _ESTIMATORS[name]).fit(frame, labels)
    original = original_of_pipeline(model, frame)
    arrays = original.model.columns.arrays(_rows(seed=3, unseen=True))
    # The sums of other libraries' linear algebra, and support vectors in FP32.
    within = 2e-5 if name == "support" else 2e-6
    made = assert_alike(original, arrays, within=within, near=within)
    names = [one.name for one in original.outputs]
    expected = {"decision": ["label", "decision"], "support": ["probabilities"]}
    assert names == expected.get(name, ["label", "probabilities"])
    if "label" in names:
        right = model.predict(frame)
        assert (answer(made, original.model.columns.arrays(frame))["label"] == right).all()


def test_forest_of_a_matrix_has_its_thresholds_when_it_is_no_pipeline() -> None:
    x = np.random.default_rng(0).normal(size=(200, 3))
    model = ensemble.RandomForestRegressor(5, max_depth=4, random_state=0).fit(x, x[:, 0])
    original = original_of_pipeline(model, pd.DataFrame(x, columns=["a", "b", "c"]))
    assert [(one.name, one.shape, one.columns) for one in original.inputs] == [("x", (3,), ("a", "b", "c"))]
    assert {one.column for one in original.thresholds} <= {0, 1, 2}
    assert_alike(original, {"x": x.astype(np.float32)}, within=2e-7)


def test_categories_are_coded_when_lightgbm_has_them_from_a_dataframe() -> None:
    frame = _rows()[["age", "city", "visits", "plan"]].astype({"city": "category", "plan": "category"})
    model = lightgbm.LGBMRegressor(n_estimators=15, verbose=-1, n_jobs=1, min_child_samples=3)
    original = original_of_pipeline(model.fit(frame, _target(_rows())), frame)
    unseen = original.model.columns.arrays(_rows(seed=3, unseen=True))
    assert_alike(original, unseen)
    given = original.model.columns.arrays(frame)
    right = model.predict(frame)
    np.testing.assert_array_equal(original.predict(given)["prediction"][:, 0], right.astype(np.float32))


def test_categories_are_coded_when_boosting_by_histograms_has_them_from_a_dataframe() -> None:
    frame = _rows()[["city", "age", "plan", "visits"]].astype({"city": "category", "plan": "category"})
    model = ensemble.HistGradientBoostingRegressor(max_iter=15, min_samples_leaf=3)
    original = original_of_pipeline(model.fit(frame, _target(_rows())), frame)
    unseen = original.model.columns.arrays(_rows(seed=3, unseen=True))
    assert_alike(original, unseen, within=2e-7)
    given = original.model.columns.arrays(frame)
    np.testing.assert_allclose(original.predict(given)["prediction"][:, 0], model.predict(frame), rtol=1e-6)


def test_categories_are_coded_when_xgboost_has_them_from_a_dataframe() -> None:
    frame = _rows()[["age", "plan", "visits"]].astype({"plan": "category"})
    model = xgboost.XGBClassifier(n_estimators=15, n_jobs=1, enable_categorical=True, max_cat_to_onehot=1)
    original = original_of_pipeline(model.fit(frame, _target(_rows()) > 7), frame)
    known = original.model.columns.arrays(_rows(seed=3))
    made = assert_alike(original, known, within=2e-7, near=2e-7)
    right = model.predict_proba(frame)
    given = original.model.columns.arrays(frame)
    np.testing.assert_allclose(answer(made, given)["probabilities"], right, atol=2e-7)
    for text in ("never sold", "bas", " basic", "é"):
        unseen = {**known, "plan": np.full((len(frame), 1), text, object)}
        assert_alike(original, unseen, within=2e-7, near=2e-7)


def test_booster_is_refused_when_xgboost_cut_its_categories() -> None:
    frame = _rows()[["city", "age"]].astype({"city": "category"})
    model = xgboost.XGBClassifier(n_estimators=2, n_jobs=1, enable_categorical=True)
    original = original_of_pipeline(model.fit(frame, _target(_rows()) > 7), frame)
    with pytest.raises(TrainingError, match="categories: expected ASCII"):
        to_onnx(original)


def test_best_of_a_search_is_converted_when_a_search_is_given() -> None:
    frame = _rows()[["income", "visits"]]
    search = model_selection.GridSearchCV(linear_model.Ridge(), {"alpha": [0.1, 10.0]}, cv=2)
    original = original_of_pipeline(search.fit(frame, _target(_rows())), frame)
    assert_alike(original, original.model.columns.arrays(frame), within=2e-7)


def test_datatypes_are_of_the_columns_when_a_sample_has_them() -> None:
    frame = _rows()
    frame["when"] = 2.0**30 + np.arange(len(frame)) * 128.0  # numbers of FP32 all
    frame["share"] = pd.array([1, None] * 150, dtype="Int64")
    numbers = ["age", "visits", "member", "when", "share"]
    keep = compose.ColumnTransformer([("n", impute.SimpleImputer(), numbers), ("c", "drop", ["city"])])
    model = pipeline.make_pipeline(keep, linear_model.Ridge()).fit(
        frame[[*numbers, "city"]].astype({"share": float}), _target(frame)
    )
    original = original_of_pipeline(model, frame)
    told = {one.name: one.datatype for one in original.inputs}
    expected = {"age": "FP64", "visits": "INT64", "member": "BOOL", "when": "FP32", "share": "FP32"}
    assert told == {**expected, "city": "BYTES"}
    assert original.categories["city"] == (*sorted(_CITIES), "")
    assert_alike(original, original.model.columns.arrays(frame), within=2e-7)


@pytest.mark.parametrize(
    ("transformer", "columns", "message"),
    [
        (_TEXT.CountVectorizer(analyzer="char"), "note", "analyzer: expected words .* got 'char'"),
        (_TEXT.CountVectorizer(strip_accents="unicode"), "note", "strip_accents: expected"),
        (preprocessing.FunctionTransformer(np.square), ["income"], "FunctionTransformer: expected one of"),
        (preprocessing.SplineTransformer(), ["income"], "SplineTransformer: skl2onnx does not write it"),
    ],
)
def test_transformer_is_refused_when_no_graph_is_the_same(
    transformer: Any, columns: Any, message: str
) -> None:
    frame = _rows()
    step = compose.ColumnTransformer([("step", transformer, columns)])
    model = pipeline.make_pipeline(step, linear_model.Ridge()).fit(frame, _target(frame))
    with pytest.raises(TrainingError, match=f"step 'step': .*{message}"):
        to_onnx(original_of_pipeline(model, frame))


def test_column_is_refused_when_it_is_a_time() -> None:
    frame = _rows()[["income"]].assign(when=pd.Timestamp("2013-01-01"))
    model = linear_model.Ridge().fit(frame[["income"]].assign(when=1.0), _target(_rows()))
    with pytest.raises(TrainingError, match=r"column 'when': expected numbers, .* got datetime64"):
        original_of_pipeline(model, frame)


def test_graph_is_of_old_versions_when_they_are_asked_for() -> None:
    frame = _rows()
    model = pipeline.make_pipeline(_columns(), _ESTIMATORS["lightgbm"]).fit(frame, _target(frame) > 7)
    original = original_of_pipeline(model, frame)
    arrays = original.model.columns.arrays(frame)
    made = assert_alike(original, arrays, within=2e-6, near=2e-6, target=Target(15, 3, 8))
    assert {one.domain: one.version for one in made.opset_import}[""] == 15

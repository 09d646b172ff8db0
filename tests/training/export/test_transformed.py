"""Models behind transforms: the original, and its graph."""

from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from falaj.features.transform import Transform, transform
from falaj.training.errors import TrainingError
from falaj.training.export.transformed import transformed_model, transformed_original
from falaj.training.graph.convert import to_onnx
from falaj.training.graph.tabular_original import original_of_tabular
from falaj.training.original import Arrays, Original
from falaj.training.tabular import Tabular

ROWS = 300


@transform(inputs={"amount": "FP64", "account__income": "FP32"}, outputs={"share": "FP32"})
def share(xp: Any, amount: Any, account__income: Any) -> Any:
    return xp.astype(amount / xp.astype(account__income, "FP64"), "FP32")


@transform(inputs={"share": "FP32"}, outputs={"high": "FP32"})
def high(xp: Any, share: Any) -> Any:
    return xp.where(share > 0.5, xp.astype(share, "FP32"), xp.astype(share * 0, "FP32"))


def given(count: int = ROWS) -> dict[str, NDArray[Any]]:
    random = np.random.default_rng(0)
    city = np.array(["Dubai", "Sharjah", "", "unseen"], object)[random.integers(4, size=count)]
    rows: dict[str, NDArray[Any]] = {
        "amount": random.uniform(1, 100, (count, 1)),
        "account__income": random.uniform(50, 200, (count, 1)).astype(np.float32),
        "age": random.uniform(18, 80, (count, 1)).astype(np.float32),
        "city": city.reshape(-1, 1),
    }
    return {**rows, "x": rows["age"]}  # all that is left of the matrix


@cache
def original() -> Original:
    """A booster of the columns share, account__income, age and high, and the category city."""
    import lightgbm

    rows = given()
    computed = share(amount=rows["amount"][:, 0], account__income=rows["account__income"][:, 0])["share"]
    codes = np.array([{"Dubai": 0.0, "Sharjah": 1.0}.get(city, np.nan) for city in rows["city"][:, 0]])
    numbers = [computed, rows["account__income"][:, 0], rows["age"][:, 0], high(share=computed)["high"]]
    x = np.column_stack([*numbers, codes]).astype(np.float32)
    target = (computed + rows["age"][:, 0] / 200 + np.nan_to_num(codes) / 3 > 0.8).astype(np.int64)
    data = lightgbm.Dataset(x, target, categorical_feature=[4], params={"verbosity": -1})
    params = {"objective": "binary", "verbosity": -1, "num_threads": 1, "min_data_in_leaf": 5}
    booster = lightgbm.train(params, data, 20)
    columns = ("share", "account__income", "age", "high")
    tabular = Tabular(booster, columns, {"city": ("Dubai", "Sharjah")})
    return original_of_tabular(tabular, task="binary", classes=(0, 1))


def run(model: Any, rows: Arrays) -> dict[str, NDArray[Any]]:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(rows)), strict=True))


def test_original_takes_what_transforms_take_when_they_are_before_it() -> None:
    made = transformed_original(original(), [share, high])
    assert [(each.name, each.datatype, each.shape, each.columns) for each in made.inputs] == [
        ("amount", "FP64", (1,), ("amount",)),
        ("account__income", "FP32", (1,), ("account__income",)),
        ("x", "FP32", (1,), ("age",)),
        ("city", "BYTES", (1,), ("city",)),
    ]
    assert made.categories == {"city": ("Dubai", "Sharjah")}
    assert {each.input for each in made.thresholds} == {"account__income", "x"}
    assert {each.column for each in made.thresholds} == {0}
    was = {each.column: each for each in original().thresholds}
    for each in made.thresholds:
        np.testing.assert_array_equal(each.values, was[{"account__income": 1, "x": 2}[each.input]].values)


def test_graph_answers_as_the_original_when_transforms_are_in_it() -> None:
    made = transformed_original(original(), [share, high])
    graph = transformed_model(to_onnx(original()), original(), [share, high])
    assert {each.name for each in graph.graph.input} == {each.name for each in made.inputs}
    rows = {name: array for name, array in given().items() if name != "age"}
    expected, answer = made.predict(rows), run(graph, rows)
    np.testing.assert_allclose(answer["probabilities"], expected["probabilities"], atol=1e-6)
    np.testing.assert_array_equal(answer["label"], expected["label"])
    assert len(np.unique(expected["probabilities"][:, 1])) > 10


def test_answers_are_none_when_there_are_no_rows() -> None:
    made = transformed_original(original(), [share, high])
    assert made.predict(given(0))["probabilities"].shape == (0, 2)


def test_a_column_is_cast_when_a_transform_takes_it_more_exactly() -> None:
    @transform(inputs={"age": "FP64", "amount": "FP64"}, outputs={"share": "FP32"})
    def exact(xp: Any, age: Any, amount: Any) -> Any:
        return xp.astype(age * amount, "FP32")

    made = transformed_original(original(), [exact])
    assert [(each.name, each.datatype) for each in made.inputs] == [
        ("age", "FP64"),
        ("amount", "FP64"),
        ("x", "FP32"),
        ("city", "BYTES"),
    ]
    assert made.inputs[2].columns == ("account__income", "high")
    assert {(each.input, each.column) for each in made.thresholds} == {("x", 0), ("x", 1)}
    rows = given()
    x = np.concatenate([rows["account__income"], np.zeros((ROWS, 1), np.float32)], axis=1)
    rows = {
        "age": rows["age"].astype(np.float64) + 1e-9,
        "amount": rows["amount"],
        "x": x,
        "city": rows["city"],
    }
    graph = transformed_model(to_onnx(original()), original(), [exact])
    expected, answer = made.predict(rows), run(graph, rows)
    np.testing.assert_allclose(answer["probabilities"], expected["probabilities"], atol=1e-6)


def test_an_input_stays_whole_when_no_transform_gives_a_column_of_it() -> None:
    @transform(inputs={"country": "BYTES", "town": "BYTES"}, outputs={"city": "BYTES"})
    def place(xp: Any, country: Any, town: Any) -> Any:
        return xp.where(country == "AE", town, town)

    made = transformed_original(original(), [place])
    assert [each.name for each in made.inputs] == ["country", "town", "x"]
    assert made.categories == {}
    assert made.thresholds == original().thresholds
    rows = given()
    x = np.zeros((ROWS, 4), np.float32)
    country = np.full((ROWS, 1), "AE", object)
    answer = made.predict({"country": country, "town": rows["city"], "x": x})
    expected = original().predict({"x": x, "city": rows["city"]})
    np.testing.assert_array_equal(answer["probabilities"], expected["probabilities"])


@pytest.mark.parametrize(
    ("transforms", "message"),
    [
        ([share], None),
        ([high], None),
        (
            [
                transform(inputs={"age": "BOOL"}, outputs={"share": "FP32"})(
                    lambda xp, age: xp.astype(age, "FP32")
                )
            ],
            "'age': is taken as BOOL, by input 'x' as FP32",
        ),
        (
            [transform(inputs={"age": "FP32"}, outputs={"other": "FP32"})(lambda xp, age: age + 1)],
            "gives 'other', which neither the model nor a transform takes",
        ),
    ],
)
def test_transforms_are_refused_when_they_do_not_fit(
    transforms: list[Transform], message: str | None
) -> None:
    if message is None:
        assert transformed_original(original(), transforms).inputs
        return
    with pytest.raises(TrainingError, match=message):
        transformed_original(original(), transforms)

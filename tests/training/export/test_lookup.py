"""What an exported model looks up, by the names of its columns."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from falaj.features import Column, ParquetFiles, View
from falaj.features.binding import Binding, BoundInput, BoundView, Feature, OnMissing, RequestValue
from falaj.training.errors import TrainingError
from falaj.training.export.columns import column_names, inputs_from
from falaj.training.export.lookup import binding_for, check_binding, feature_rows
from falaj.training.export.stored_columns import Stored, as_served
from falaj.training.original import Arrays, ModelInput, Original
from tests.server.joined_model import CUSTOMER, account

ACCOUNT = BoundView(account(), "nan")


def answer(_: Arrays) -> dict[str, NDArray[Any]]:
    return {}


def model(*inputs: ModelInput) -> Original:
    return Original("onnx", "other", inputs, (), None, answer)


MIXED = ModelInput("x", "FP32", (3,), ("account__income", "amount", "account__visits"))


def test_columns_are_features_when_they_are_named_for_them() -> None:
    made = binding_for(model(MIXED, ModelInput("city", "BYTES", (1,), ("city",))), [ACCOUNT])
    columns = (Feature("account", "income"), RequestValue("amount", "FP32"), Feature("account", "visits"))
    assert made == Binding((ACCOUNT,), (BoundInput("x", columns),))


def test_an_input_is_bound_whole_when_it_is_one_feature() -> None:
    made = binding_for(model(ModelInput("account__visits", "INT64", (1,), ("account__visits",))), [ACCOUNT])
    assert made == Binding((ACCOUNT,), (BoundInput("account__visits", (Feature("account", "visits"),)),))


def test_nothing_is_bound_when_no_column_is_a_feature() -> None:
    image = ModelInput("image", "FP32", (3, 8, 8))
    assert binding_for(model(image, ModelInput("x", "FP32", (1,), ("amount",))), [ACCOUNT]) is None


def test_binding_is_refused_when_a_request_could_not_name_a_column() -> None:
    with pytest.raises(TrainingError, match=r"input 'x', Amount Paid:FP32: expected a name of small letters"):
        binding_for(model(ModelInput("x", "FP32", (2,), ("Amount Paid", "account__income"))), [ACCOUNT])


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (ModelInput("y", "FP32", (3,)), "the model has no input 'x', it has y"),
        (ModelInput("x", "FP32", (2,)), r"input 'x': expected \[rows, 3\], the model's is \['rows', 2\]"),
    ],
)
def test_binding_is_refused_when_it_fits_no_input(tensor: ModelInput, message: str) -> None:
    made = binding_for(model(MIXED), [ACCOUNT])
    assert made is not None
    check_binding(model(MIXED), made)
    with pytest.raises(TrainingError, match=message):
        check_binding(model(tensor), made)


@pytest.mark.parametrize(
    ("tensor", "on_missing", "message"),
    [
        (ModelInput("account__visits", "INT64", (1,)), "nan", "bound with nan .* INT64 has no NaN"),
        (ModelInput("account__visits", "INT32", (1,)), "default", "is INT64, which input .* of INT32 cannot"),
        (ModelInput("account__income", "FP64", (1,)), "nan", None),
        (ModelInput("account__visits", "INT64", (1,)), "default", None),
    ],
)
def test_binding_is_refused_when_a_server_would_refuse_it(
    tensor: ModelInput, on_missing: OnMissing, message: str | None
) -> None:
    view, column = tensor.name.split("__")
    bound = BoundInput(tensor.name, (Feature(view, column),))
    made = Binding((BoundView(account(), on_missing),), (bound,))
    if message is None:
        check_binding(model(tensor), made)
        return
    with pytest.raises(TrainingError, match=message):
        check_binding(model(tensor), made)


def test_binding_is_refused_when_text_has_no_default() -> None:
    view = View(
        name="city",
        version=1,
        entity=CUSTOMER,
        source=ParquetFiles("none/*.parquet"),
        columns=(Column("name", "BYTES"),),
        event_time="at",
        known_time=None,
    )
    tensor = ModelInput("city__name", "BYTES", (1,), ("city__name",))
    made = binding_for(model(tensor), [BoundView(view)])
    assert made is not None
    with pytest.raises(TrainingError, match=r"city__name: has no default, and input 'city__name' of BYTES"):
        check_binding(model(tensor), made)


def test_feature_rows_are_of_what_is_looked_up_when_an_export_has_it() -> None:
    made = binding_for(model(MIXED), [ACCOUNT])
    assert made is not None
    status = np.array(["present", "missing"], object)
    nothing = np.zeros(2, bool)
    (income,) = feature_rows(
        made,
        {
            "account__status": (status, nothing),
            "account__income": (np.array([1.0, 0.0]), np.array([False, True])),
        },
    )
    assert (income.view, income.version, income.column, income.datatype) == ("account", 1, "income", "FP32")
    assert income.status is status


def test_inputs_are_made_of_columns_when_these_have_names() -> None:
    columns: dict[str, NDArray[Any]] = {
        "amount": np.array([1, 2]),
        "account__income": np.array([0.1, np.nan]),
        "account__visits": np.array([True, False]),
        "city": np.array(["a", ""], object),
    }
    original = model(MIXED, ModelInput("city", "BYTES", (1,), ("city",)))
    made = inputs_from(original, columns)
    assert made["x"].dtype == np.float32
    np.testing.assert_array_equal(made["x"], np.array([[0.1, 1, 1], [np.nan, 2, 0]], np.float32))
    assert made["city"].tolist() == [["a"], [""]]
    assert list(column_names(original)) == [*MIXED.columns, "city"]
    whole = model(ModelInput("image", "FP32", (2, 2)))
    assert inputs_from(whole, {"image": np.ones((3, 2, 2))})["image"].dtype == np.float32


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"amount": np.ones(1)}, "expected a column 'account__income', there are: amount"),
        ({name: np.array(["a"]) for name in MIXED.columns}, "x: account__income: expected float32, got <U1"),
    ],
)
def test_inputs_are_refused_when_columns_do_not_fit(columns: dict[str, NDArray[Any]], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        inputs_from(model(MIXED), columns)


def test_a_default_serves_when_a_value_is_null() -> None:
    income, visits = account().features
    nulls = np.array([False, True, True])
    stored = Stored(np.array([5.0, 0.0, 0.0]), nulls)
    present = np.array([True, True, False])
    assert as_served(stored, "FP32", income, None).tolist() == [5, -1, -1]
    np.testing.assert_array_equal(as_served(stored, "FP32", income, present), np.array([5, -1, np.nan]))
    np.testing.assert_array_equal(as_served(stored, "FP32", None, None), np.array([5, np.nan, np.nan]))
    assert as_served(Stored(np.array([2, 0, 0]), nulls), "INT64", visits, None).tolist() == [2, 7, 7]
    text = Stored(np.array(["a", None, None], object), nulls)
    assert as_served(text, "BYTES", None, None).tolist() == ["a", "", ""]

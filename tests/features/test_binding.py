"""What a model looks up, as its bundle says."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from falaj.features import Column, DefinitionError, Entity, ParquetFiles, View
from falaj.features.binding import (
    BUNDLE,
    Binding,
    BoundInput,
    BoundView,
    Feature,
    RequestValue,
    bind_all,
    bind_by_name,
    binding_from,
    read_binding,
    write_binding,
)
from falaj.features.cli import features
from falaj.features.registry import Registry


def _view(name: str = "account") -> View:
    return View(
        name=name,
        version=3,
        entity=Entity("customer", {"customer_id": "INT64"}),
        source=ParquetFiles("rows/*.parquet"),
        columns=(Column("income", "FP32", default=float("inf")), Column("city", "BYTES", default="دبي")),
        event_time="at",
        known_time=None,
    )


def _bound(*names: str) -> list[BoundView]:
    return [BoundView(_view(name), "nan") for name in names or ("account",)]


def test_binding_is_what_it_was_when_it_is_read_back(tmp_path: Path) -> None:
    columns = (Feature("account", "income"), RequestValue("amount", "FP64"), Feature("account", "income"))
    binding = Binding(tuple(_bound()), (BoundInput("x", columns),))
    (tmp_path / BUNDLE).write_text('{"files": {"model.onnx": "00"}}')
    write_binding(tmp_path, binding)
    assert read_binding(tmp_path) == binding
    assert binding.features == (Feature("account", "income"),)
    assert json.loads((tmp_path / BUNDLE).read_text())["files"] == {"model.onnx": "00"}


def test_times_are_what_they_were_when_they_are_read_back(tmp_path: Path) -> None:
    binding = bind_all([BoundView(_view(), "reject", 0.5, 60_000)], "x")
    write_binding(tmp_path, binding)
    assert read_binding(tmp_path) == binding


def test_times_are_the_usual_ones_when_the_bundle_tells_none(tmp_path: Path) -> None:
    write_binding(tmp_path, bind_all([BoundView(_view(), "nan", 0.5, 60_000)], "x"))
    bundle = json.loads((tmp_path / BUNDLE).read_text())
    del bundle["features"]["views"][0]["budget_ms"], bundle["features"]["views"][0]["max_staleness_ms"]
    (tmp_path / BUNDLE).write_text(json.dumps(bundle))
    assert read_binding(tmp_path) == bind_all(_bound(), "x")


@pytest.mark.parametrize(
    ("budget_ms", "max_staleness_ms", "message"),
    [
        (0, 0, "account@3: budget_ms: expected 0.001 to 60000, got 0"),
        (-1, 0, "budget_ms: expected 0.001 to 60000, got -1"),
        (float("nan"), 0, "budget_ms: expected 0.001 to 60000, got nan"),
        (60_001, 0, "budget_ms: expected 0.001 to 60000, got 60001"),
        (None, -1, "account@3: max_staleness_ms: expected 0 to 86400000, got -1"),
        (None, float("inf"), "max_staleness_ms: expected 0 to 86400000, got inf"),
    ],
)
def test_a_view_is_refused_when_a_time_is_out_of_range(
    budget_ms: float | None, max_staleness_ms: float, message: str
) -> None:
    with pytest.raises(DefinitionError, match=message):
        BoundView(_view(), "default", budget_ms, max_staleness_ms)


def test_reading_fails_when_a_time_is_no_number(tmp_path: Path) -> None:
    write_binding(tmp_path, bind_all(_bound(), "x"))
    bundle = json.loads((tmp_path / BUNDLE).read_text())
    bundle["features"]["views"][0]["budget_ms"] = "2"
    (tmp_path / BUNDLE).write_text(json.dumps(bundle))
    with pytest.raises(DefinitionError, match="features: cannot be read"):
        read_binding(tmp_path)


def test_there_is_no_binding_when_there_is_no_bundle_or_none_in_it(tmp_path: Path) -> None:
    assert read_binding(tmp_path) is None
    (tmp_path / BUNDLE).write_text("{}")
    assert read_binding(tmp_path) is None


@pytest.mark.parametrize(
    ("bundle", "message"),
    [
        ("[]", "expected an object, got list"),
        ("{", "cannot be read"),
        ('{"features": 3}', "features: cannot be read"),
        ('{"features": {"views": [{}], "inputs": []}}', "features: cannot be read"),
    ],
)
def test_reading_fails_when_the_bundle_is_no_bundle(tmp_path: Path, bundle: str, message: str) -> None:
    (tmp_path / BUNDLE).write_text(bundle)
    with pytest.raises(DefinitionError, match=message):
        read_binding(tmp_path)


def test_reading_fails_when_a_definition_is_not_what_its_hash_says(tmp_path: Path) -> None:
    write_binding(tmp_path, bind_all(_bound(), "x"))
    bundle = json.loads((tmp_path / BUNDLE).read_text())
    bundle["features"]["views"][0]["definition"]["ttl_us"] = 1
    (tmp_path / BUNDLE).write_text(json.dumps(bundle))
    with pytest.raises(DefinitionError, match="view account: is not what its hash says"):
        read_binding(tmp_path)


def test_texts_tell_columns_when_they_name_features_and_values() -> None:
    binding = binding_from(
        _bound("account", "card"), ["x=account__income, amount:FP32,card__income", "t=card__city"]
    )
    assert [each.columns for each in binding.inputs] == [
        (Feature("account", "income"), RequestValue("amount", "FP32"), Feature("card", "income")),
        (Feature("card", "city"),),
    ]
    assert [str(column) for column in binding_from(_bound(), ["x"]).inputs[0].columns] == [
        "account__income",
        "account__city",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x=income", "expected VIEW__COLUMN"),
        ("x=account__age", "has no such column, it has: income, city"),
        ("x=card__income", "no view 'card' is bound; there are: account"),
        ("x=amount:FLOAT", "got 'FLOAT'"),
        ("x=amount:FP32", "is bound, and no input has a column of it"),
    ],
)
def test_texts_are_refused_when_they_name_what_is_not_there(text: str, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        binding_from(_bound(), [text])


def test_a_view_is_refused_when_it_is_bound_twice() -> None:
    with pytest.raises(DefinitionError, match="another version of it is bound already"):
        binding_from(_bound("account", "account"), ["x"])


def test_command_binds_when_the_view_is_registered(tmp_path: Path) -> None:
    Registry(tmp_path / "features.db").apply([_view()])
    folder = tmp_path / "models" / "score" / "1"
    folder.mkdir(parents=True)
    options = [
        "bind",
        str(folder),
        "--views",
        "account",
        "--data-dir",
        str(tmp_path),
        "--on-missing",
        "reject",
        "--budget-ms",
        "2",
        "--max-staleness-ms",
        "60000",
    ]
    result = CliRunner().invoke(features, [*options, "--input", "x=account__income,amount:FP32"])
    assert result.output == "x: account__income, amount:FP32\n"
    binding = read_binding(folder)
    assert binding is not None
    assert binding.views == (BoundView(_view(), "reject", 2, 60_000),)


def test_inputs_take_the_features_that_they_are_named_for() -> None:
    binding = bind_by_name(_bound(), ["amount", "account__city", "account__income"])
    assert binding == binding_from(
        _bound(), ["account__city=account__city", "account__income=account__income"]
    )
    with pytest.raises(
        DefinitionError, match=r"view card@3: expected an input card__COLUMN.* has account__i"
    ):
        bind_by_name(_bound("account", "card"), ["account__income"])

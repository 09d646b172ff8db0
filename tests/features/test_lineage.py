"""Where views come from and where they go, as real registries, files and models tell."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import onnx
import pytest

from falaj.features import Aggregate, Column, CsvFiles, DataError, DefinitionError, Entity, SqlQuery, View
from falaj.features.binding import BoundView, binding_from, write_binding
from falaj.features.lineage import Lineage, Used, lineage_of
from falaj.features.model_inputs import ModelInputs, models_in
from falaj.features.registry import Registry
from falaj.features.transform import transform
from falaj.features.transform.fuse import fuse
from tests.features.test_cli import Commands

_CUSTOMER = Entity("customer", {"id": "INT64"})


def _view(name: str, source: CsvFiles | SqlQuery, version: int = 1, **more: Any) -> View:
    more = {"entity": _CUSTOMER, "columns": (Column("age", "INT8"), Column("city", "BYTES")), **more}
    return View(name=name, version=version, source=source, event_time="event", known_time="known", **more)


def _lineage(folder: Path, view: View, *others: View, models: list[ModelInputs] | None = None) -> Lineage:
    registry = Registry(folder / "features.db")
    registry.apply([view, *others])
    return lineage_of(registry.find(view.name, view.version), registry.versions(), models)


def test_files_columns_versions_and_views_of_the_entity_are_told(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / f"{name}.csv").write_text("id\n")
    source = CsvFiles(str(tmp_path / "*.csv"))
    others = [
        _view("profile", source, 2),
        _view("scores", source, 3),
        _view("cards", source, entity=Entity("card", {"id": "INT64"})),
    ]
    told = _lineage(tmp_path, _view("profile", source, sequence="number", deleted="gone"), *others)
    assert told.files == (str(tmp_path / "a.csv"), str(tmp_path / "b.csv"))
    assert told.reads == ("id", "event", "known", "number", "gone", "age", "city")
    assert (told.columns, told.versions) == (("age", "city"), (1, 2))
    assert (told.same_entity, told.models, told.also_reads) == (("scores@3",), None, ())


def test_windows_are_told_with_what_they_are_aggregates_of(tmp_path: Path) -> None:
    spent = Aggregate("spent", "sum", Column("amount", "FP64"), timedelta(hours=1))
    windowed = _view("spending", CsvFiles("none/*.csv"), columns=(), aggregates=(spent,), event_id="order_id")
    told = _lineage(tmp_path, windowed)
    assert told.reads == ("id", "event", "known", "order_id", "amount")
    assert told.columns == ("spent",)


def test_query_is_told_with_its_url_and_without_files(tmp_path: Path) -> None:
    told = _lineage(tmp_path, _view("profile", SqlQuery("env:CRM", "SELECT *\nFROM profiles")))
    assert told.lines() == [
        "profile@1: of customer (id INT64)",
        "  source: env:CRM",
        "    SELECT *",
        "    FROM profiles",
        "  reads: id, event, known, age, city",
        "  makes: age, city",
        "  versions: 1",
        "  same entity: no other view",
    ]


def test_columns_and_tables_that_a_transformation_names_are_told(tmp_path: Path) -> None:
    sql = (
        "WITH old AS (SELECT id, max(born) AS born FROM source GROUP BY id) "
        "SELECT id, event, known, date_diff('year', born, event) AS age, c.name AS city FROM old "
        "JOIN source AS s USING (id) JOIN read_csv('cities.csv', header = true) AS c ON c.code = s.city_code "
        "JOIN 'more.parquet' AS m USING (branch)"
    )
    told = _lineage(tmp_path, _view("profile", CsvFiles("none/*.csv"), sql=sql))
    assert sorted(told.reads) == ["born", "branch", "city_code", "code", "event", "id", "known", "name"]
    assert sorted(told.also_reads) == ["cities.csv", "more.parquet"]
    assert "    no such file now" in told.lines()
    whole = _lineage(tmp_path, _view("other", CsvFiles("none/*.csv"), sql="SELECT *, 1 AS age FROM source"))
    assert whole.reads == ("*",)


def test_transformation_that_is_no_sql_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="view profile@1: sql: "):
        _lineage(tmp_path, _view("profile", CsvFiles("x.csv"), sql="SELECT FROM WHERE"))


@transform({"amount": "FP64", "profile__age": "INT8"}, {"share": "FP64"})
def share(xp: Any, amount: Any, profile__age: Any) -> Any:
    return amount / xp.astype(profile__age, xp.float64)


def _write_model(repository: Path, place: str) -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> '
        "g (double[n, 1] share) => (double[n, 1] y) { y = Neg(share) }"
    )
    (repository / place).mkdir(parents=True)
    onnx.save(fuse(model, [share]), repository / place / "model.onnx")


def test_models_that_take_columns_are_told(tmp_path: Path) -> None:
    for place in ("fraud/10", "fraud/9", "fraud/notes"):
        _write_model(tmp_path / "models", place)
    models = models_in(tmp_path / "models")
    inputs, transforms = ("amount", "profile__age"), ("share",)
    assert models == [ModelInputs("fraud", version, inputs, transforms) for version in (9, 10)]
    source = CsvFiles("x.csv")
    told = _lineage(tmp_path, _view("profile", source), models=models)
    assert told.models == tuple(Used("fraud", version, ("profile__age",), transforms) for version in (9, 10))
    assert told.lines()[-1] == "  model: fraud/10 takes profile__age, by share"
    other = _lineage(tmp_path, _view("scores", source), models=models)
    assert (other.models, other.lines()[-1]) == ((), "  model: none takes its columns")


def test_model_that_looks_a_view_up_takes_that_version_of_it(tmp_path: Path) -> None:
    old, new = (_view("profile", CsvFiles("x.csv"), version) for version in (1, 2))
    _write_model(tmp_path / "models", "fraud/1")
    (tmp_path / "models" / "score" / "3").mkdir(parents=True)
    for place in ("fraud/1", "score/3"):
        write_binding(tmp_path / "models" / place, binding_from([BoundView(new)], ["x=profile__city"]))
    models = models_in(tmp_path / "models")
    expected = (Used("fraud", 1, ("profile__city",), ("share",)), Used("score", 3, ("profile__city",), ()))
    assert _lineage(tmp_path, old, new, models=models).models == ()
    told = lineage_of(Registry(tmp_path / "features.db").find("profile", 2), [], models)
    assert told.models == expected


def test_repository_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no such folder"):
        models_in(tmp_path / "nowhere")
    (tmp_path / "fraud" / "1").mkdir(parents=True)
    (tmp_path / "fraud" / "1" / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(DataError, match=r"fraud/1/model\.onnx: "):
        models_in(tmp_path)


def test_command_tells_one_view_or_all(tmp_path: Path) -> None:
    commands = Commands(tmp_path)
    commands.apply()
    (tmp_path / "models").mkdir()
    code, said, _ = commands.run("lineage", "--repository", str(tmp_path / "models"), "--json")
    (told,) = json.loads(said)
    assert (code, told["view"], told["models"]) == (0, "profile@1", [])
    assert told["source"] == {"kind": "parquet", "glob": "profiles/*.parquet"}
    code, said, _ = commands.run("lineage", "profile@1")
    assert said.startswith(
        "profile@1: of customer (customer_id INT64)\n  source: parquet profiles/*.parquet\n"
    )
    code, _, complaint = commands.run("lineage", "profile@2")
    assert code == 2
    assert "view profile@2: is not registered; there are 1" in complaint

"""Transforms in exports: what they may take, what the manifest tells, and what is refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from falaj.features import Column, CsvFiles, DataError, DefinitionError, Entity, View
from falaj.features.offline.export import export, export_again
from falaj.features.offline.manifest import read_manifest
from falaj.features.offline.spine import Spine
from falaj.features.offline.transformed import Transforms
from falaj.features.transform import Transform, transform
from falaj.features.transform.load import load_transform
from falaj.features.transform.program import program_of


@pytest.fixture
def view(tmp_path: Path) -> View:
    (tmp_path / "rows.csv").write_text(
        "customer_id,at,income,visits,city\n1,1970-01-01T00:00:00Z,2,3,Dubai\n2,1970-01-01T00:00:00Z,,,\n"
    )
    return View(
        name="profile",
        version=1,
        entity=Entity("customer", {"customer_id": "INT64"}),
        source=CsvFiles(str(tmp_path / "rows.csv")),
        columns=(Column("income", "FP32"), Column("visits", "INT64", default=7), Column("city", "BYTES")),
        event_time="at",
        known_time=None,
    )


def _made(inputs: dict[str, str], outputs: dict[str, str], function: Callable[..., Any]) -> Transform:
    return transform(inputs, outputs)(function)


_SHARE = _made(
    {"amount": "FP32", "profile__income": "FP32"},
    {"share": "FP32"},
    lambda xp, amount, profile__income: amount / profile__income,
)
_TWICE = _made({"share": "FP32"}, {"twice": "FP32"}, lambda xp, share: share * 2.0)
_ASKED = "SELECT i % 4 AS customer_id, i::BIGINT AS spine_ts, i::FLOAT AS amount FROM range(150000) AS t(i)"


def _spine(folder: Path, sql: str = _ASKED) -> Spine:
    duckdb.sql(f"COPY ({sql}) TO '{folder}/spine.parquet'")
    return Spine(str(folder / "spine.parquet"))


def test_columns_are_computed_and_made_again_when_a_set_has_transforms(view: View, tmp_path: Path) -> None:
    out, again = tmp_path / "set.parquet", tmp_path / "again.parquet"
    made = export(_spine(tmp_path), [view], out, transforms=Transforms((_SHARE, _TWICE)))
    assert made.columns[-2:] == ("share", "twice")
    assert [(each.name, each.identity) for each in made.transforms] == [
        (each.name, each.identity) for each in (_SHARE, _TWICE)
    ]
    assert read_manifest(tmp_path / "set.parquet.manifest.json") == made
    wrong = "twice IS DISTINCT FROM CASE WHEN customer_id = 1 THEN amount / 2 * 2 ELSE 'nan'::FLOAT END"
    assert duckdb.sql(f"SELECT count(*) FROM '{out}' WHERE {wrong}").fetchall() == [(0,)]
    assert duckdb.sql(f"SELECT count(*), max(twice) FROM '{out}' WHERE customer_id = 1").fetchall() == [
        (37500, 149997.0)
    ]
    export_again(tmp_path / "set.parquet.manifest.json", again)
    assert again.read_bytes() == out.read_bytes()


def test_manifest_is_refused_when_a_transform_is_not_what_its_identity_says(
    view: View, tmp_path: Path
) -> None:
    made = export(_spine(tmp_path), [view], tmp_path / "set.parquet", transforms=Transforms((_SHARE,)))
    other = replace(made.transforms[0], program=_TWICE.program.plain())
    replace(made, transforms=(other,)).write(tmp_path / "other.json")
    with pytest.raises(DefinitionError, match="is not what its identity says"):
        export_again(tmp_path / "other.json", tmp_path / "again.parquet")


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        (
            {"price": "FP32"},
            {"y": "FP32"},
            "input 'price': is neither a feature nor of the spine: profile__inc",
        ),
        ({"amount": "INT32"}, {"y": "INT32"}, "input 'amount': is INT32, there it is FLOAT"),
        (
            {"profile__visits": "INT32"},
            {"y": "INT32"},
            "input 'profile__visits': is INT32, there it is INT64",
        ),
        ({"profile__city": "BYTES"}, {"y": "BYTES"}, "has no default, and BYTES has no NaN"),
        ({"amount": "FP32"}, {"profile__income": "FP32"}, "is the name of another column already"),
        ({"amount": "FP32"}, {"customer_id": "FP32"}, "is the name of another column already"),
    ],
)
def test_transform_is_refused_when_it_does_not_fit(
    view: View, tmp_path: Path, inputs: dict[str, str], outputs: dict[str, str], message: str
) -> None:
    (name,) = inputs
    namespace: dict[str, Any] = {}
    exec(f"def same(xp, {name}): return {name}", namespace)
    wrong = Transforms((_made(inputs, outputs, namespace["same"]),))
    with pytest.raises(DefinitionError, match=message):
        export(_spine(tmp_path), [view], tmp_path / "set.parquet", transforms=wrong)
    assert not (tmp_path / "set.parquet").exists()


@pytest.mark.parametrize(
    ("amount", "message"),
    [
        ("if(i < 149000, 1, NULL)::FLOAT", "input 'amount': null in row 149000 of the spine"),
        ("if(i < 149000, 1, 1e300)::DOUBLE", "out of range"),
    ],
)
def test_spine_is_refused_when_no_request_could_bring_its_value(
    view: View, tmp_path: Path, amount: str, message: str
) -> None:
    spine = _spine(tmp_path, _ASKED.replace("i::FLOAT", amount))
    with pytest.raises(DataError, match=message):
        export(spine, [view], tmp_path / "set.parquet", transforms=Transforms((_SHARE,)))
    assert not (tmp_path / "set.parquet").exists()


def test_program_is_what_it_was_when_it_was_plain() -> None:
    namespace = "-0.0 and NaN are told from others"
    made = _made(
        {"a": "FP32", "b": "BYTES"},
        {"y": "FP32", "z": "BOOL"},
        lambda xp, a, b: (xp.where(b == namespace, a + -0.0, float("nan")), b == "é"),
    )
    assert program_of(made.program.plain()) == made.program
    with pytest.raises(DefinitionError, match="expected format 1, got"):
        program_of([2, [], [], []])


def test_transform_is_loaded_from_a_file_that_has_it(tmp_path: Path) -> None:
    path = tmp_path / "share.py"
    path.write_text(
        "from falaj.features.transform import transform\n"
        "share = transform({'a': 'FP32'}, {'y': 'FP32'})(lambda xp, a: a * 2.0)\n"
    )
    assert load_transform(f"{path}:share").outputs == {"y": "FP32"}
    for reference, message in (
        (f"{path}:other", "expected a transform 'other', it has: share"),
        (str(path), r"expected FILE\.py:NAME"),
        (f"{path}.py:share", "no such file"),
    ):
        with pytest.raises(DefinitionError, match=message):
            load_transform(reference)
    path.write_text("share = 1 / 0\n")
    with pytest.raises(DefinitionError, match=r"share\.py:1: division by zero"):
        load_transform(f"{path}:share")

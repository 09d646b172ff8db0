import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from falaj.features import Column, CsvFiles, Entity, View
from falaj.features.offline.export import export
from falaj.features.offline.spine import Spine
from falaj.training.errors import TrainingError
from falaj.training.fit.spec import DataSpec, OnMissing
from falaj.training.fit.table import read_table
from tests.training.fit.customers import BEGIN_US, customers, write_customers


def test_table_has_the_columns_of_the_file_when_read(tmp_path: Path) -> None:
    path = write_customers(tmp_path / "rows.parquet", 50)
    frame = customers(50)
    table = read_table(
        DataSpec(str(path), "left", time="when", group="who", exclude=("spent", "level"), segments=("city",))
    )
    assert (table.task, table.classes) == ("binary", (0, 1))
    assert table.numbers == ("income", "age", "visits")
    expected = frame[["income", "age", "visits"]].to_numpy(np.float32)
    assert np.array_equal(table.matrix, expected, equal_nan=True)
    assert list(table.categories["city"]) == list(frame.city.fillna(""))
    assert list(table.segments["city"]) == list(frame.city.fillna(""))
    assert table.group is not None
    assert list(table.group) == list(frame.who)
    assert table.time is not None
    assert table.time[0] == BEGIN_US
    assert list(table.target) == list(frame.left)
    assert table.source.left_out == {
        "when": "time",
        "who": "group",
        "left": "target",
        "spent": "excluded",
        "level": "excluded",
    }


def test_table_is_the_same_when_files_are_csv_or_several(tmp_path: Path) -> None:
    frame = customers(60).drop(columns=["spent", "level", "who"])
    frame.to_parquet(tmp_path / "all.parquet")
    frame[:25].to_parquet(tmp_path / "part-0.parquet")
    frame[25:].to_parquet(tmp_path / "part-1.parquet")
    frame.to_csv(tmp_path / "all.csv", index=False)
    one, parts, csv = (
        read_table(DataSpec(str(tmp_path / name), "left", time="when"))
        for name in ("all.parquet", "part-*.parquet", "all.csv")
    )
    for other in (parts, csv):
        assert np.array_equal(one.matrix, other.matrix, equal_nan=True)
        assert list(one.categories["city"]) == list(other.categories["city"])
        assert np.array_equal(one.target, other.target)
    assert [Path(each.path).name for each in parts.source.files] == ["part-0.parquet", "part-1.parquet"]


def test_numbers_are_names_when_the_specification_says_so(tmp_path: Path) -> None:
    path = write_customers(tmp_path / "rows.parquet", 30)
    table = read_table(DataSpec(str(path), "left", features=("visits", "age"), categories=("visits",)))
    assert table.numbers == ("age",)
    assert set(table.categories["visits"]) <= {"0", "1", "2", "3", "4", "5"}


@pytest.mark.parametrize(
    ("target", "task", "classes"),
    [
        ("left", "binary", (0, 1)),
        ("level", "multiclass", ("high", "low", "middle")),
        ("spent", "regression", ()),
        ("flag", "binary", (0, 1)),
    ],
)
def test_task_is_found_when_the_target_is_plain(
    tmp_path: Path, target: str, task: str, classes: tuple[int | str, ...]
) -> None:
    path = write_customers(tmp_path / "rows.parquet", 90, flag=customers(90).left == 1)
    table = read_table(DataSpec(str(path), target, features=("age",)))
    assert (table.task, table.classes) == (task, classes)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (lambda path: DataSpec(path, "gone"), "no column 'gone', it has when, who"),
        (lambda path: DataSpec(f"{path}.not", "left"), "no such file"),
        (lambda path: DataSpec(path, "visits"), "6 whole numbers; say data.task"),
        (lambda path: DataSpec(path, "income"), "null in row 0"),
        (lambda path: DataSpec(path, "spent", task="binary"), "expected classes, got numbers"),
        (lambda path: DataSpec(path, "level", task="regression"), "expected numbers for a regression"),
        (lambda path: DataSpec(path, "level", task="binary"), "expected 2 classes, got 3"),
        (lambda path: DataSpec(path, "left", group="city"), "column 'city': null in row"),
        (lambda path: DataSpec(path, "left", features=("left",)), "is no feature: target"),
        (lambda path: DataSpec(path, "left", time="city"), "a row has none"),
    ],
)
def test_table_is_refused_with_the_reason_when_it_cannot_be_used(
    tmp_path: Path, data: Callable[[str], DataSpec], message: str
) -> None:
    path = write_customers(tmp_path / "rows.parquet", 60)
    with pytest.raises(TrainingError, match=message):
        read_table(data(str(path)))


def test_time_is_taken_when_it_is_a_timestamp_a_date_or_text(tmp_path: Path) -> None:
    days = pd.date_range("2026-01-01", periods=20, freq="D", tz="UTC")
    columns = {
        "zoned": days,
        "naive": days.tz_localize(None),
        "date": days.date,
        "text": days.strftime("%Y-%m-%dT00:00:00+00:00"),
    }
    path = write_customers(tmp_path / "rows.parquet", 20, **columns)
    for name in columns:
        table = read_table(DataSpec(str(path), "left", time=name, features=("age",)))
        assert table.time is not None, name
        assert table.time[1] == BEGIN_US + 86_400_000_000, name


def feature_export(folder: Path) -> Path:
    """An export with entities that are present, missing and expired; a column of it has no default."""
    (folder / "profiles.csv").write_text(
        "customer_id,moved_at,income,city,score\n"
        "1,2026-01-01T00:00:00Z,9000,Dubai,1\n"
        "2,2026-01-10T00:00:00Z,,,2\n"
        "3,2024-01-10T00:00:00Z,5,Ajman,3\n"
    )
    view = View(
        name="profile",
        version=1,
        entity=Entity("customer", {"customer_id": "INT64"}),
        source=CsvFiles(str(folder / "profiles.csv")),
        event_time="moved_at",
        known_time=None,
        ttl=timedelta(days=365),
        columns=(
            Column("income", "FP64", default=0.1),
            Column("city", "BYTES", default="none"),
            Column("score", "INT32"),
        ),
        owner="risk",
    )
    (folder / "loans.csv").write_text(
        "customer_id,asked_at,amount,repaid\n"
        "1,2026-02-10T00:00:00Z,10,true\n"
        "2,2026-02-11T00:00:00Z,20,false\n"
        "3,2026-02-12T00:00:00Z,30,true\n"
        "4,2026-02-13T00:00:00Z,40,false\n"
    )
    export(Spine(str(folder / "loans.csv"), "asked_at"), [view], folder / "loans.parquet")
    return folder / "loans.parquet"


@pytest.mark.parametrize(
    ("on_missing", "income", "score", "city"),
    [
        ("default", [9000, 0.1, 0.1, 0.1], [1, 2, np.nan, np.nan], ["Dubai", "none", "none", "none"]),
        ("nan", [9000, 0.1, np.nan, np.nan], [1, 2, np.nan, np.nan], ["Dubai", "none", "", ""]),
        ("reject", [9000, 0.1], [1, 2], ["Dubai", "none"]),
    ],
)
def test_null_feature_is_what_serving_gives_when_the_file_is_an_export(
    tmp_path: Path, on_missing: OnMissing, income: list[float], score: list[float], city: list[str]
) -> None:
    path = feature_export(tmp_path)
    table = read_table(DataSpec(str(path), "repaid", on_missing=on_missing))
    assert table.numbers == ("amount", "profile__income", "profile__score")
    assert np.array_equal(table.matrix[:, 1], np.array(income, np.float32), equal_nan=True)
    assert np.array_equal(table.matrix[:, 2], np.array(score, np.float32), equal_nan=True)
    assert list(table.categories["profile__city"]) == city
    assert table.source.left_out == {
        "customer_id": "key",
        "asked_at": "time",
        "repaid": "target",
        "profile__status": "status",
    }
    assert table.source.rows_left_out == 4 - len(income)
    assert table.time is not None
    assert table.source.manifest is not None


def test_export_is_refused_when_it_is_not_what_its_manifest_tells(tmp_path: Path) -> None:
    path = feature_export(tmp_path)
    manifest = Path(f"{path}.manifest.json")
    told = json.loads(manifest.read_text())
    told["out"]["sha256"] = "0" * 64
    manifest.write_text(json.dumps(told))
    with pytest.raises(TrainingError, match="is not what its manifest tells"):
        read_table(DataSpec(str(path), "repaid"))

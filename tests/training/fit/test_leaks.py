"""What is not known when a model is asked is found in its training set, and real columns are let through."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import duckdb
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris

from falaj.features import Aggregate, Column, Entity, ParquetFiles, View
from falaj.features.offline.export import export
from falaj.features.offline.spine import Spine
from falaj.training.errors import TrainingError
from falaj.training.fit.leaks import Leak, early_views, refuse_leaks, telling_columns
from falaj.training.original import Task


@pytest.mark.parametrize(
    ("load", "task"),
    [(load_breast_cancer, "binary"), (load_diabetes, "regression"), (load_iris, "multiclass")],
)
def test_no_column_is_suspected_when_data_is_real(load, task: Task) -> None:  # type: ignore[no-untyped-def]
    data = load()
    columns = zip(data.feature_names, data.data.T.astype(np.float32), strict=True)
    numbers = dict(columns)
    assert telling_columns(numbers, {}, data.target, task) == []


@dataclass(frozen=True)
class _Planted:
    target: np.ndarray
    column: np.ndarray


def _planted(kind: str) -> _Planted:
    random = np.random.default_rng(3)
    late = random.random(2000) < 0.2
    target = late.astype(np.int64)
    columns = {
        "itself": late.astype(np.float32),
        "reversed": -late.astype(np.float32) * 7,
        "noisy": (late + random.normal(0, 0.2, 2000)).astype(np.float32),
        "where it is none": np.where(late, np.nan, 1).astype(np.float32),
        "weak": (late + random.normal(0, 2, 2000)).astype(np.float32),
        "constant": np.ones(2000, np.float32),
        "none at all": np.full(2000, np.nan, np.float32),
    }
    return _Planted(target, columns[kind])


@pytest.mark.parametrize("kind", ["itself", "reversed", "noisy", "where it is none"])
def test_column_is_found_when_it_tells_the_target(kind: str) -> None:
    planted = _planted(kind)
    (leak,) = telling_columns({"delay": planted.column}, {}, planted.target, "binary")
    assert leak.where == "delay"


@pytest.mark.parametrize("kind", ["weak", "constant", "none at all"])
def test_column_is_let_through_when_it_tells_little(kind: str) -> None:
    planted = _planted(kind)
    assert telling_columns({"delay": planted.column}, {}, planted.target, "binary") == []


def test_category_is_found_when_its_values_tell_the_target() -> None:
    random = np.random.default_rng(4)
    target = np.array(["no", "maybe", "yes"])[random.integers(0, 3, 3000)]
    state = np.where(random.random(3000) < 0.99, target, "open")
    other = random.choice(["a", "b", "c"], 3000)
    own = np.array(
        [f"{target[i]}{i}" for i in range(3000)]
    )  # one for each row: rates of one row tell nothing
    leaks = telling_columns({}, {"state": state, "other": other, "own": own}, target, "multiclass")
    assert [leak.where for leak in leaks] == ["state"]


def test_number_is_found_when_it_is_the_target_of_a_regression() -> None:
    amount = np.random.default_rng(5).lognormal(size=500)
    numbers = {"with_tax": (amount * 1.05).astype(np.float32), "one": np.ones(500, np.float32)}
    assert [leak.where for leak in telling_columns(numbers, {}, amount, "regression")] == ["with_tax"]


def _flights(folder: Path) -> None:
    """Flights that leave some minutes after their time by the timetable."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(
            f"""COPY (
                SELECT i % 3 AS carrier,
                       TIMESTAMPTZ '2026-01-01T00:00:00Z' + to_minutes(i * 7) AS scheduled_at,
                       scheduled_at + to_minutes(i % 50) AS departed_at,
                       departed_at + to_minutes(1) AS known_at, (i % 50)::DOUBLE AS delay
                FROM range(600) AS _(i)) TO '{folder}/flights.parquet' (FORMAT parquet)"""
        )
        connection.execute(
            f"""COPY (SELECT i % 3 AS carrier, TIMESTAMPTZ '2026-01-02T00:00:00Z' + to_hours(i) AS asked_at
                FROM range(20) AS _(i)) TO '{folder}/spine.parquet' (FORMAT parquet)"""
        )


@pytest.mark.parametrize(
    ("event_time", "known_time", "found"),
    [
        ("departed_at", "known_at", None),
        (
            "scheduled_at",
            None,
            "in 98.0% of its rows 'departed_at' is after 'scheduled_at', when they are said to be known",
        ),
        ("departed_at", "scheduled_at", "98.0% of its rows are known before their event"),
    ],
)
def test_view_is_found_when_its_rows_are_known_too_early(
    tmp_path: Path, event_time: str, known_time: str | None, found: str | None
) -> None:
    _flights(tmp_path)
    view = View(
        name="delays",
        version=1,
        entity=Entity("carrier", {"carrier": "INT64"}),
        source=ParquetFiles(str(tmp_path / "flights.parquet")),
        event_time=event_time,
        known_time=known_time,
        aggregates=(Aggregate("delay_3h", "mean", Column("delay", "FP64"), timedelta(hours=3)),),
    )
    out = tmp_path / "set.parquet"
    export(Spine(str(tmp_path / "spine.parquet"), "asked_at"), [view], out)
    leaks = early_views(Path(f"{out}.manifest.json"))
    if found is None:
        assert leaks == []
    else:
        assert Leak("view delays@1", found) in leaks
        with pytest.raises(TrainingError, match=r"allow_leaks = .*view delays@1"):
            refuse_leaks(leaks, [])
    refuse_leaks(leaks, ["view delays@1"])


def test_file_is_refused_when_it_is_no_manifest(tmp_path: Path) -> None:
    path = tmp_path / "set.parquet.manifest.json"
    path.write_text("{}")
    with pytest.raises(TrainingError, match="is no manifest of an export"):
        early_views(path)

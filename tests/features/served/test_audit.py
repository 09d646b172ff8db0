"""The audit of what was served: nothing differs where all is well, and each cause is told as itself."""

import signal
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from falaj.features import Aggregate, Column, PushedRows
from falaj.features.cli import features
from falaj.features.errors import DataError
from falaj.features.online.push import push
from falaj.features.online.store import open_store
from falaj.features.registry import Registry
from falaj.features.served.summary import CAUSES, Audit, ColumnAudit, read_audit
from tests.features.served.audited import ROWS, Audited, audited, mismatches, now
from tests.server.serving_process import Serving

_ALL = (1, 2, 3, 4, 5, 99)
_NONE: dict[str, dict[str, int]] = {"income": {}, "visits": {}, "city": {}}


def _each(cause: str, count: int = 1) -> dict[str, dict[str, int]]:
    return {column: {cause: count} for column in _NONE}


def test_nothing_differs_when_values_nulls_nan_text_missing_and_expired_are_served(tmp_path: Path) -> None:
    made = audited(tmp_path)
    made.serve(*_ALL)
    made.write("2.parquet", [(1, -0.5, 3, 99.0, 9, "later")])  # arrives after it was asked about
    found = made.audit()
    assert found.rows == 6
    assert mismatches(found) == _NONE
    assert [(each.view, each.compared) for each in found.columns] == [("profile@1", 6)] * 3


def test_nothing_differs_when_rows_were_only_pushed(tmp_path: Path) -> None:
    made, folder = Audited(tmp_path, now()), tmp_path / "pushed"
    made.data.mkdir()
    folder.mkdir()
    view = replace(made.view, source=PushedRows(str(folder)), ttl=timedelta(days=1000))
    made.prepare(view)
    row = {"customer_id": 1, "event": "2026-01-01T00:00:00Z", "income": 0.1, "visits": None, "city": "Dubai"}
    older = {**row, "customer_id": 4, "event": "2020-01-01T00:00:00Z"}
    push(open_store(made.url), view, [row, older])
    made.serve(1, 4, 99)
    push(open_store(made.url), view, {**row, "income": 0.2})
    found = made.audit()
    assert found.rows == 3
    assert mismatches(found) == _NONE


def test_late_is_told_when_a_row_had_arrived_and_the_store_had_not_been_given_it(tmp_path: Path) -> None:
    made = audited(tmp_path)
    made.arrives("2.parquet", (1, -1, 0, 99.0, 9, "Abu Dhabi"))
    made.serve(1, 5)
    assert mismatches(made.audit()) == _each("late")
    made.materialize()
    made.serve(1)
    assert mismatches(made.audit()) == _each("late")
    assert made.audit().columns[0].compared == 3


def test_late_is_told_when_the_store_had_been_given_nothing(tmp_path: Path) -> None:
    made = audited(tmp_path)
    store = open_store(made.url)
    store.drop_view("profile", 1)
    made.serve(1, 99)
    assert mismatches(made.audit()) == _each("late")


def test_ttl_is_told_when_only_one_says_that_a_value_has_expired(tmp_path: Path) -> None:
    made = audited(tmp_path)
    made.serve(1, 4, 5)
    moved = [(4, -5, *row[2:]) if row[0] == 4 else row for row in ROWS]
    moved[0] = moved[1] = (1, -500, -4, 11.5, 2, "Sharjah")
    made.write("1.parquet", moved)  # the source tells another past now
    assert mismatches(made.audit()) == _each("ttl", 2)


def test_windows_are_compared_when_they_are_served(tmp_path: Path) -> None:
    income = Column("income", "FP64")
    aggregates = (
        Aggregate("earned", "sum", income, timedelta(days=60)),
        Aggregate("times", "count", None, timedelta(days=1)),
    )
    made = audited(tmp_path, columns=(), ttl=None, aggregates=aggregates)
    made.arrives("2.parquet", (1, -1, 0, 99.0, 9, "Abu Dhabi"))
    text = np.array([["Dubai"]], object)
    made.serve(2, 3, 4, 5, 99, city=text)
    assert mismatches(made.audit()) == {"earned": {}, "times": {}}
    made.serve(1, city=text)
    assert mismatches(made.audit()) == {"earned": {"late": 1}, "times": {"late": 1}}


def test_version_is_told_when_another_definition_is_registered_under_it(tmp_path: Path) -> None:
    made = audited(tmp_path)
    made.serve(*_ALL)
    (made.data / "features.db").unlink()
    by_right = replace(made.view, ttl=timedelta(hours=1))
    Registry(made.data / "features.db").apply([by_right])
    # Of the six, one is missing and one has expired by both.
    assert mismatches(made.audit()) == _each("version", 4)


def test_all_of_a_column_differ_by_version_when_the_registered_view_has_another(tmp_path: Path) -> None:
    made = audited(tmp_path)
    made.serve(1, 5)
    (made.data / "features.db").unlink()
    income, _, city = made.view.columns
    Registry(made.data / "features.db").apply([replace(made.view, columns=(income, city))])
    assert mismatches(made.audit()) == {"income": {}, "visits": {"version": 2}, "city": {}}


def test_nothing_differs_when_the_registry_knows_no_such_version(tmp_path: Path) -> None:
    made = audited(tmp_path)
    made.serve(*_ALL)
    (made.data / "features.db").unlink()
    assert mismatches(made.audit()) == _NONE


@pytest.mark.parametrize(
    ("column", "changed"),
    [
        ("income", (5, -5, -4, 0.0, 5, "")),  # which differs from -0.0 by a bit
        ("income", (5, -5, -4, None, 5, "")),
        ("visits", (5, -5, -4, -0.0, 6, "")),
        ("city", (5, -5, -4, -0.0, 5, None)),
    ],
)
def test_value_is_told_when_the_source_tells_another_past(tmp_path: Path, column: str, changed: Any) -> None:
    made = audited(tmp_path)
    made.serve(*_ALL)
    made.write("1.parquet", [*ROWS[:5], changed, ROWS[6]])
    assert mismatches(made.audit()) == {**_NONE, column: {"value": 1}}


def test_transform_is_told_when_it_is_the_sql_that_no_longer_says_the_same(tmp_path: Path) -> None:
    names = tmp_path / "factor.csv"
    names.write_text("factor\n2\n")
    sql = f"SELECT source.* REPLACE (income * factor AS income) FROM source, read_csv('{names}')"
    made = audited(tmp_path, sql=sql)
    made.serve(1, 2, 99)
    assert mismatches(made.audit()) == _NONE
    names.write_text("factor\n3\n")
    assert mismatches(made.audit()) == {**_NONE, "income": {"transform": 1}}


def test_what_requests_bring_is_left_out(tmp_path: Path) -> None:
    made = audited(tmp_path)
    made.serve(1, 5, profile__visits=np.array([[77]], np.int64))
    found = made.audit()
    assert mismatches(found) == _NONE
    assert {each.column: each.compared for each in found.columns} == {"income": 2, "visits": 0, "city": 2}


def test_rows_are_chosen_when_a_model_a_time_or_a_number_is_named(tmp_path: Path) -> None:
    made = audited(tmp_path)
    made.serve(1, 2)
    between = now()
    made.serve(3, 4, 5)
    assert made.audit(model="score").rows == 5
    assert made.audit(since_us=between).rows == 3
    assert made.audit(sample=2).rows == 2
    assert made.audit(sample=100).rows == 5
    assert made.audit(since_us=now()).rows == 0
    with pytest.raises(DataError, match="nothing is logged there of model 'other'"):
        made.audit(model="other")


def test_audit_of_a_server_is_shown_by_it_and_sets_the_exit_status(tmp_path: Path) -> None:
    made = audited(tmp_path)
    made.arrives("2.parquet", (1, -1, 0, 99.0, 9, "Abu Dhabi"))
    data = ("--data-dir", str(made.data))
    with Serving(tmp_path, "--set=features.log_sample=1", *data) as server:
        key = {"name": "customer_id", "datatype": "INT64", "shape": [4, 1], "data": [1, 2, 3, 4]}
        assert server.ask("POST", "/v2/models/score/infer", {"inputs": [key]})[0] == 200
        server.send(signal.SIGTERM)
        assert server.wait() == 0, server.output()
    run = CliRunner().invoke(features, ["audit", *data, "--max-mismatch", "0.25"])
    assert run.exit_code == 0, run.output
    expected = ["4 rows"]
    expected += [f"profile@1 {name}: 4 compared, 25.0000% differ: late 1" for name in sorted(_NONE)]
    assert run.output.splitlines() == expected
    assert CliRunner().invoke(features, ["audit", *data, "--max-mismatch", "0.2"]).exit_code == 1
    with Serving(tmp_path, *data) as server:
        page = server.ask("GET", "/metrics", listener="metrics")[2].decode()
    at = 'falaj_feature_mismatch_ratio{cause="%s",column="city",view="profile@1"} %s'
    for cause in CAUSES:
        assert at % (cause, 0.25 if cause == "late" else 0.0) in page
    assert "falaj_feature_audit_timestamp_seconds " in page


def test_summary_is_read_as_it_was_written_and_refused_when_it_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "features" / "audit.json"
    assert read_audit(path) is None
    found = Audit(5, 2, (ColumnAudit("v@1", "c", 4, {**dict.fromkeys(CAUSES, 0), "late": 1}),))
    found.write(path)
    assert read_audit(path) == found
    assert found.highest == 0.25
    path.write_text("{")
    with pytest.raises(DataError, match=r"audit\.json: cannot be read"):
        read_audit(path)


def test_audit_is_refused_when_a_file_is_none_of_the_log(tmp_path: Path) -> None:
    made = audited(tmp_path)
    made.serve(1)
    (made.data / "features" / "log" / "score" / "0.parquet").write_bytes(
        (tmp_path / "rows" / "1.parquet").read_bytes()
    )
    with pytest.raises(DataError, match=r"0\.parquet: is no file of the log of served features"):
        made.audit()

"""`falaj export` of runs: from a run's folder to answers by key."""

import json
import shutil
from pathlib import Path

import duckdb
import numpy as np
import pytest

import falaj as served
from falaj.features.binding import BoundInput, Feature, RequestValue
from falaj.features.offline.manifest import see
from falaj.training.bundle.baseline import Category, Numbers, read_baseline
from falaj.training.bundle.bundle import read_bundle
from falaj.training.bundle.bundle_files import verify_bundle
from falaj.training.fit.run import Run
from falaj.training.fit.run_folder import read_run
from falaj.training.graph import convert
from tests.training.export.loans import done, falaj, make_loans


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loans")
    make_loans(folder)
    return folder


@pytest.fixture
def loans(made: Path, tmp_path: Path) -> Path:
    """The folder as it was made, to be changed."""
    return Path(shutil.copytree(made, tmp_path / "loans"))


@pytest.fixture(scope="module")
def late(made: Path) -> Path:
    """The bundle of the run on the feature export."""
    out = done(made, "export", "runs/late", "--name", "late", "--purpose", "who pays late", "--owner", "risk")
    assert out.endswith("exported: models/late/1\n")
    return made / "models" / "late" / "1"


def test_bundle_answers_by_key_as_training_did_when_a_run_is_exported(made: Path, late: Path) -> None:
    run = read_run(made / "runs" / "late")
    is_test = run.predictions["split"] == "test"
    rows = run.predictions["row"][is_test]
    asked = duckdb.sql(f"SELECT customer_id, amount FROM '{made / 'train.parquet'}'").fetchnumpy()
    requests = {
        "customer_id": np.asarray(asked["customer_id"], np.int64)[rows].reshape(-1, 1),
        "amount": np.asarray(asked["amount"], np.float64)[rows].reshape(-1, 1),
    }
    store = f"lmdb://{made / '.falaj' / 'online'}"
    with served.Engine(made / "models", cores=1, strict=True, features=store) as engine:
        told = {(each["name"], each["datatype"]) for each in engine.describe("late")["inputs"]}
        assert told == {("customer_id", "INT64"), ("amount", "FP64")}
        answer = engine.infer("late", requests)
    np.testing.assert_allclose(answer["probabilities"][:, 1], run.predictions["score"][is_test], atol=1e-6)
    assert len(rows) > 100


def test_features_are_bound_by_their_names_when_the_data_are_a_feature_export(late: Path) -> None:
    binding = read_bundle(late).binding
    assert binding is not None
    assert [f"{each.view.name}@{each.view.version}" for each in binding.views] == ["account@2"]
    assert binding.inputs == (
        BoundInput("account__income", (Feature("account", "income"),)),
        BoundInput("x", (Feature("account", "visits"),)),
        BoundInput("account__city", (Feature("account", "city"),)),
    )
    assert verify_bundle(late) == ()


def test_bundle_tells_what_the_run_told_when_it_is_read(made: Path, late: Path) -> None:
    run, bundle = read_run(made / "runs" / "late"), read_bundle(late)
    assert bundle.training is not None
    assert [each["sha256"] for each in bundle.training["files"]] == [see(made / "train.parquet").sha256]
    assert bundle.training["manifest"] == see(made / "train.parquet.manifest.json").sha256
    assert bundle.training["rows"] == 900
    assert bundle.training["splits"]["train"]["rows"] == run.split.sizes["train"]
    metrics = {line["metric"]: line["value"] for line in bundle.metrics if line["by"] is None}
    assert metrics == {name: each.value for name, each in run.metrics["test"].all.metrics.items()}
    assert bundle.parity["passed"]
    assert bundle.parity["sets"][0]["compared"] == run.split.sizes["train"]
    assert bundle.versions["lightgbm"] == run.circumstances.versions["lightgbm"]
    text = (late / "card.md").read_text().replace("\\", "")
    for told in (
        "who pays late",
        "account@2",
        "credit scoring",
        "personal",
        "risk",
        "share",
        "account__city",
    ):
        assert told in text


def test_baseline_counts_the_training_rows_when_a_run_is_exported(made: Path, late: Path) -> None:
    run, baseline = read_run(made / "runs" / "late"), read_baseline(late / "baseline.json")
    rows = run.split.sizes["train"]
    first_test = run.split.borders["validation_from"]
    told = dict(
        duckdb.sql(
            f"SELECT account__status, count(*) FROM '{made / 'train.parquet'}' "
            f"WHERE asked_at::TIMESTAMPTZ < TIMESTAMPTZ '{first_test}' GROUP BY ALL"
        ).fetchall()
    )
    assert [each.column for each in baseline.features] == ["income", "visits", "city"]
    for each in baseline.features:
        assert each.rows == rows == each.reference.counts.total
        assert each.statuses == {"expired": 0, "missing": 0} | told
    income, visits, city = (each.reference for each in baseline.features)
    assert isinstance(income, Numbers)
    assert income.counts.missing == told["missing"] + baseline.features[0].nulls
    assert isinstance(city, Category)
    assert set(city.levels.levels) == {"Dubai", "Sharjah", "العين"}
    by_name = {each.name: each for each in baseline.inputs}
    assert set(by_name) == {"amount", "account__income", "account__visits", "account__city"}
    assert by_name["account__income"].reference.counts.missing == 0  # the default serves
    assert by_name["account__visits"].reference.counts == visits.counts
    assert {each.rows for each in baseline.outputs} == {run.split.sizes["test"]}


def _wrong_graph(monkeypatch: pytest.MonkeyPatch, other: Run) -> None:
    """Plant a fault: the graph of a model that was fitted on other rows."""
    from falaj.training.graph.tabular_original import original_of_tabular

    assert other.tabular is not None
    right, wrong = convert.to_onnx, original_of_tabular(other.tabular, task=other.task, classes=other.classes)
    monkeypatch.setattr(convert, "to_onnx", lambda original, target=None: right(wrong, target))


def test_export_writes_nothing_when_the_graph_answers_otherwise(
    loans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (loans / "late.toml").read_text().replace("rounds = 30", "rounds = 3")
    (loans / "short.toml").write_text(text)
    done(loans, "train", "short.toml", "--out", "runs/short")
    _wrong_graph(monkeypatch, read_run(loans / "runs" / "short"))
    code, out, err = falaj(loans, "export", "runs/late", "--name", "late", "--repository", "refused")
    assert code == 1
    assert "runs/late" in err
    assert "training rows" in err
    assert "amount=" in err  # the rows are shown
    assert out == ""
    assert not (loans / "refused").exists()
    code, out, err = falaj(
        loans, "export", "runs/late", "--name", "late", "--repository", "refused", "--json"
    )
    assert code == 1
    told = json.loads(out)
    assert told["exported"] is None
    assert "training rows" in told["refused"]
    assert not (loans / "refused").exists()


def test_export_tells_programs_when_asked(made: Path) -> None:
    told = json.loads(
        done(made, "export", "runs/paid", "--name", "paid", "--repository", "for-programs", "--json")
    )
    folder = made / told["exported"]
    assert folder == made / "for-programs" / "paid" / "1"
    assert told["files"] == dict(read_bundle(folder).files)
    assert told["parity"]["passed"]
    assert {line["metric"] for line in told["metrics"]} == {"rmse", "mae", "r2"}


def test_fewer_rows_are_compared_when_told(made: Path) -> None:
    arguments = ("export", "runs/paid", "--name", "paid", "--repository", "fewer", "--rows", "50", "--json")
    told = json.loads(done(made, *arguments))
    assert told["parity"]["sets"][0]["compared"] == 50
    assert read_baseline(made / told["exported"] / "baseline.json").inputs[0].rows > 200


def test_requests_bring_all_when_no_column_is_a_features(made: Path) -> None:
    done(made, "export", "runs/paid", "--name", "paid", "--repository", "plain")
    folder = made / "plain" / "paid" / "1"
    bundle = read_bundle(folder)
    assert bundle.binding is None
    assert bundle.model["inputs"][0]["columns"] == ["Amount Due"]
    assert "looks nothing up" in (folder / "card.md").read_text()
    run = read_run(made / "runs" / "paid")
    is_test = run.predictions["split"] == "test"
    rows = run.predictions["row"][is_test]
    data = duckdb.sql(f"SELECT * FROM '{made / 'plain.csv'}'").fetchnumpy()
    with served.Engine(made / "plain", cores=1, strict=True) as engine:
        due = np.asarray(data["Amount Due"], np.float32)[rows].reshape(-1, 1)
        kind = np.asarray(data["kind"], object)[rows].reshape(-1, 1)
        answer = engine.infer("paid", {"x": due, "kind": kind})
    np.testing.assert_allclose(answer["prediction"][:, 0], run.predictions["score"][is_test], rtol=1e-5)


def test_a_pipeline_takes_a_column_an_input_when_it_is_exported(made: Path) -> None:
    done(made, "export", "runs/level", "--name", "level", "--repository", "pipelines")
    folder = made / "pipelines" / "level" / "1"
    bundle, run = read_bundle(folder), read_run(made / "runs" / "level")
    assert {each["name"] for each in bundle.model["inputs"]} == {"Amount Due", "kind"}
    assert bundle.model["classes"] == ["high", "low", "middle"]
    is_test = run.predictions["split"] == "test"
    rows = run.predictions["row"][is_test]
    data = duckdb.sql(f"SELECT * FROM '{made / 'plain.csv'}'").fetchnumpy()
    asked = {
        "Amount Due": np.asarray(data["Amount Due"], np.float32)[rows].reshape(-1, 1),
        "kind": np.asarray(data["kind"], object)[rows].reshape(-1, 1),
    }
    with served.Engine(made / "pipelines", cores=1, strict=True) as engine:
        answer = engine.infer("level", asked)
    for place, name in enumerate(bundle.model["classes"]):
        expected = run.predictions[f"score_{name}"][is_test]
        np.testing.assert_allclose(answer["probabilities"][:, place], expected, atol=1e-5)
    by = {line["by"] for line in bundle.metrics}
    assert by == {None, "kind"}


def test_a_binding_is_as_told_when_it_is_told(made: Path) -> None:
    export = ("export", "runs/late", "--name", "late", "--repository", "told", "--views", "account")
    done(made, *export, "--bind", "x=account__visits")
    done(made, *export, "--bind", "x=visits:FP32", "--bind", "account__income=account__income")
    one, other = (read_bundle(made / "told" / "late" / version).binding for version in "12")
    assert one is not None
    assert other is not None
    assert one.inputs == (BoundInput("x", (Feature("account", "visits"),)),)
    assert other.inputs[0] == BoundInput("x", (RequestValue("visits", "FP32"),))


def test_rows_that_the_run_kept_stand_for_the_data_when_these_have_changed(loans: Path) -> None:
    (loans / "plain.csv").write_text((loans / "plain.csv").read_text() + "1,a,2,low\n")
    done(loans, "export", "runs/paid", "--name", "paid")
    folder = loans / "models" / "paid" / "1"
    assert sum(1 for _ in (loans / "models").glob("paid/*")) == 1
    baseline = read_baseline(folder / "baseline.json")
    run = read_run(loans / "runs" / "paid")
    assert baseline.inputs[0].rows == len(run.training.target)
    assert "could not be read as they were (plain.csv is not what it was)" in (folder / "card.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("runs/late", "--name", "a", "--data", "x.parquet"), "--data: is of a model that is brought"),
        (("runs/late", "--name", "a/b"), "model name: expected one that a folder can have, got 'a/b'"),
        (("runs/late", "--name", "a", "--on-missing", "nan"), "BYTES has no NaN"),
        (("runs/late", "--name", "a", "--on-missing", "never"), "expected default, nan, reject, got 'never'"),
        (("runs/late", "--name", "a", "--views", "nobody"), "view nobody: is not registered"),
        (("runs/late", "--name", "a", "--bind", "y=account__visits"), "the model has no input 'y'"),
        (("runs/late", "--name", "a", "--bind", "x=account__none"), "view 'account' has no such column"),
        (("runs/paid", "--name", "a", "--views", "account"), "no column of the model is called VIEW__COLUMN"),
        (
            ("runs/paid", "--name", "a", "--bind", "x=account__visits"),
            "columns are bound, and no views are named",
        ),
        (("runs/late", "--name", "a", "--transform", "share.py:nobody"), "expected a transform 'nobody'"),
        (("runs", "--name", "a"), "runs: is no run of `falaj train`; a model's file needs rows, as --data"),
    ],
)
def test_export_is_refused_when_the_command_line_does_not_fit(
    made: Path, arguments: tuple[str, ...], message: str
) -> None:
    code, out, err = falaj(made, "export", "--repository", "none", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert not (made / "none").exists()


def test_export_is_refused_when_a_transform_takes_what_is_not_there_any_more(loans: Path) -> None:
    (loans / "train.parquet").unlink()
    code, _, err = falaj(loans, "export", "runs/late", "--name", "late")
    assert code == 2
    assert "a transform takes 'account__income'" in err

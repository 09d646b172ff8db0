"""A folder in which features are defined, exported and materialised, and models are trained on them."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

_VIEW = """
from datetime import timedelta
from falaj.features import Column, CsvFiles, Entity, Tags, View

account = View(
    name="account",
    version=2,
    entity=Entity("customer", {"customer_id": "INT64"}),
    source=CsvFiles("accounts.csv"),
    event_time="at",
    known_time=None,
    ttl=timedelta(days=4000),
    columns=(
        Column("income", "FP32", default=20.0),
        Column("visits", "INT64"),
        Column("city", "BYTES", default=""),
    ),
    owner="risk",
    tags=Tags(purpose="credit scoring", sensitivity="personal"),
)
"""
_SHARE = """
from falaj.features.transform import transform

@transform(inputs={"amount": "FP64", "account__income": "FP32"}, outputs={"share": "FP32"})
def share(xp, amount, account__income):
    return xp.astype(amount / (xp.astype(account__income, "FP64") + 1.0), "FP32")
"""
_LATE = """
threads = 1
[data]
path = "train.parquet"
target = "late"
exclude = ["account__income"]
segments = ["account__city"]
[model]
kind = "lightgbm"
rounds = 30
[metrics]
resamples = 40
"""
# Without a feature export: no view, no binding.
_PLAIN = """
threads = 1
[data]
path = "plain.csv"
target = "paid"
task = "regression"
exclude = ["level"]
[model]
kind = "lightgbm"
rounds = 20
[metrics]
resamples = 40
"""
# A pipeline of scikit-learn, of three classes.
_PIPELINE = """
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from falaj.training.fit.spec import DataSpec, MetricsSpec, ModelSpec, TrainSpec


def build(params):
    text = ("text", OneHotEncoder(handle_unknown="ignore"), ["kind"])
    columns = ColumnTransformer([text, ("number", StandardScaler(), ["Amount Due"])])
    return make_pipeline(columns, LogisticRegression(max_iter=200))


spec = TrainSpec(
    DataSpec("plain.csv", "level", exclude=("paid",), segments=("kind",)),
    model=ModelSpec("pipeline"),
    metrics=MetricsSpec(resamples=40),
    build=build,
    threads=1,
)
"""
CUSTOMERS = 120


def falaj(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Run a command in a folder, in this process; return its exit code and what it wrote."""
    from falaj.server.cli import main

    out, err = io.StringIO(), io.StringIO()
    with _inside(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        given, sys.argv = sys.argv, ["falaj", *arguments]
        try:
            main()
        except SystemExit as ended:
            return int(ended.code or 0), out.getvalue(), err.getvalue()
        finally:
            sys.argv = given
    raise AssertionError("a command always exits")


def done(folder: Path, *arguments: str) -> str:
    """Run a command that succeeds; return what it wrote."""
    code, out, err = falaj(folder, *arguments)
    assert code == 0, err
    return out


def make_loans(folder: Path) -> None:
    """Make features, and train three models: runs/late, paid and level."""
    make_features(folder)
    (folder / "late.toml").write_text(_LATE)
    (folder / "paid.toml").write_text(_PLAIN)
    (folder / "level.py").write_text(_PIPELINE)
    done(folder, "train", "late.toml", "--out", "runs/late")
    done(folder, "train", "paid.toml", "--out", "runs/paid")
    done(folder, "train", "level.py", "--out", "runs/level")


def make_features(folder: Path) -> None:
    """Define features, make the training set train.parquet of them, and fill the online store."""
    (folder / "definitions").mkdir()
    (folder / "definitions" / "account.py").write_text(_VIEW)
    (folder / "share.py").write_text(_SHARE)
    _write_rows(folder)
    done(folder, "features", "apply", "definitions")
    spine = ("--spine", "loans.csv", "--time", "asked_at", "--views", "account")
    transform = ("--transform", "share.py:share")
    done(folder, "features", "export", *spine, *transform, "--out", "train.parquet")
    done(folder, "features", "materialize")


def _write_rows(folder: Path) -> None:
    random = np.random.default_rng(0)
    with open(folder / "accounts.csv", "w", encoding="utf-8") as file:
        file.write("customer_id,at,income,visits,city\n")
        for i in range(CUSTOMERS):
            income = "" if i % 17 == 0 else f"{random.uniform(10, 100):.3f}"
            city = ["Dubai", "Sharjah", "العين", ""][i % 4]
            file.write(f"{i},2026-01-01T00:00:00Z,{income},{random.integers(0, 9)},{city}\n")
    with open(folder / "loans.csv", "w", encoding="utf-8") as file:
        file.write("customer_id,asked_at,amount,late\n")
        for i in range(900):
            customer, amount = random.integers(0, CUSTOMERS + 10), random.uniform(1, 50)
            late = int(amount + customer % 30 + random.normal(0, 8) > 40)
            at = f"2026-0{1 + i // 300}-{1 + i % 28:02}T00:{i % 60:02}:00Z"
            file.write(f"{customer},{at},{amount:.2f},{late}\n")
    with open(folder / "plain.csv", "w", encoding="utf-8") as file:
        file.write("Amount Due,kind,paid,level\n")
        for i in range(400):
            due = random.uniform(0, 10)
            paid = 2 * due + i % 3 + random.normal(0, 0.1)
            noisy = paid + random.normal(0, 4)
            level = "low" if noisy < 7 else "middle" if noisy < 14 else "high"
            file.write(f"{due:.3f},{'abc'[i % 3]},{paid:.4f},{level}\n")


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)

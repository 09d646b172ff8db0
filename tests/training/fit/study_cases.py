"""Studies to be tuned by the command, and what came of them."""

import math
import os
import sys
from pathlib import Path
from typing import Any

from falaj.training.fit.tune import read_trials
from tests.training.fit.customers import write_customers

FALAJ = str(Path(sys.executable).parent / "falaj")
SPEC = """
[data]
path = "rows.parquet"
target = "left"
time = "when"
exclude = ["who", "spent", "level"]
[model]
rounds = 150
patience = 150
[tuning]
trials = 10
wave = 3
[tuning.space]
learning_rate = { low = 0.001, high = 0.5, log = true }
num_leaves = { low = 3, high = 63, log = true }
[metrics]
resamples = 20
"""
ENVIRONMENT = {**os.environ, "OMP_WAIT_POLICY": "passive"}


def write_case(folder: Path) -> None:
    """Write `study.toml` and its rows."""
    write_customers(folder / "rows.parquet")
    (folder / "study.toml").write_text(SPEC, encoding="utf-8")


def told(trials: list[Any]) -> list[tuple[Any, ...]]:
    """Return all of trials but when they ran."""
    return [
        (
            each.number,
            each.state.name,
            # Not equal to itself where it is no number.
            None if each.value is None or math.isnan(each.value) else each.value,
            each.params,
            each.intermediate_values,
            each.user_attrs,
        )
        for each in trials
    ]


def outcome(run: Path) -> tuple[list[tuple[Any, ...]], bytes]:
    """Return a run's trials, and the bytes of its predictions."""
    return told(read_trials(run / "study.db")), (run / "predictions.parquet").read_bytes()

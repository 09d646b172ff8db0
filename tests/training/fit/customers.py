"""Rows with numbers, gaps, categories, times and groups, whose targets follow from them with some noise."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

HOUR_US = 3_600_000_000
BEGIN_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z


def customers(rows: int = 800, seed: int = 0) -> pd.DataFrame:
    """Return `when` (UTC µs, ascending), `who`, `income` and `age` with gaps, `city`, `visits`; and the
    targets `left` (0, 1), `spent` (a number) and `level` (text, three classes)."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "when": BEGIN_US + np.arange(rows) * HOUR_US * 2,
            "who": [f"c{i}" for i in random.integers(0, rows // 4, rows)],
            "income": random.normal(size=rows),
            "age": random.normal(size=rows).astype(np.float32),
            "city": random.choice(["Dubai", "Sharjah", "Ajman"], rows),
            "visits": random.integers(0, 6, rows),
        }
    )
    frame.loc[::7, "income"] = np.nan
    frame.loc[::11, "city"] = None
    signal = frame.income.fillna(-1) + (frame.city == "Dubai") * 1.5 - frame.age + 0.2 * frame.visits
    frame["left"] = (signal + random.normal(size=rows) > 0.5).astype(int)
    frame["spent"] = signal + 0.1 * random.normal(size=rows)
    frame["level"] = np.where(signal < -0.5, "low", np.where(signal < 1, "middle", "high"))
    return frame


def write_customers(path: Path, rows: int = 800, seed: int = 0, **columns: Any) -> Path:
    """Write them as Parquet, with some columns in place of theirs."""
    customers(rows, seed).assign(**columns).to_parquet(path)
    return path

"""The benchmark of pushing runs, against a real server too, and finds what would be wrong."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.features.expected import Expected
from benchmarks.features.vectors import different
from benchmarks.features.views import spending

ROOT = Path(__file__).parents[2]


def test_report_is_written_when_few_events_are_pushed() -> None:
    sizes = {"events": 6000, "entities": 200, "single-events": 100, "http-events": 1200}
    command = [sys.executable, "benchmarks/features/push.py"]
    command += [f"--{name}={size}" for name, size in sizes.items()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split("  ")[1].strip() for line in done.stdout.splitlines() if line.startswith("   ")]
    python = ["Python, 1,000 at a time", "Python, one at a time"]
    assert rows[2:5] == [*python, "HTTP, 4 connections, 200 at a time"], done.stdout
    assert done.stdout.count(": identical") == 3
    assert done.stdout.count(" met") == 2


def test_vectors_differ_when_a_bit_or_a_null_does() -> None:
    def vectors(value: float, null: bool, text: str = "a") -> dict[str, object]:
        floats = np.array([1.0, value]), np.array([False, null])
        return {"f": floats, "t": (np.array(["a", text], object), np.zeros(2, bool))}

    assert different(vectors(0.0, False), vectors(0.0, False)) is None
    assert different(vectors(0.0, True), vectors(-0.0, True)) is None
    assert (
        different(vectors(0.0, False), vectors(-0.0, False))
        == "f of customer 1: np.float64(0.0) and np.float64(-0.0)"
    )
    assert different(vectors(0.0, False), vectors(0.0, True)) == "f of customer 1: null is False and True"
    assert different(vectors(0.0, False), vectors(0.0, False, "b")) == "t of customer 1: 'a' and 'b'"


def test_look_up_is_wrong_when_a_copy_counts() -> None:
    expected = Expected(spending(Path("none")), 1)
    event = {"customer_id": 1, "order_id": 7, "event_us": 10, "known_us": 20, "number": 1, "amount": 2.5}
    expected.add([{**event, "shop": "a"}])
    assert expected.add([{**event, "known_us": 15, "amount": 3.5, "shop": "b"}]) == [1]
    right = {
        "orders_1h": 1,
        "spent_1d": 3.5,
        "most_1d": 3.5,
        "spread_7d": None,
        "shops_1d": 1,
        "shop_7d": "b",
    }
    assert expected.wrong(1, 30, right) is None
    assert expected.wrong(1, 17, right) is None
    for name, value in (("orders_1h", 2), ("spent_1d", 2.5), ("spread_7d", 0.5), ("shop_7d", "a")):
        told = expected.wrong(1, 30, {**right, name: value})
        assert told is not None
        assert f"{name} is {value!r}" in told

"""What the demo does, a command at a time, each as a user would give it."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from falaj.training.demo.data import TRAINED_AT, ingest
from falaj.training.errors import TrainingError

VIEWS = "carrier,origin,tail,route,weather,plane"
RUN, MODEL, SET = "runs/late", "late", "flights.parquet"
_CLOCK = "clock.py:clock"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Step:
    """A command of `falaj`, and what it is for."""

    why: str
    arguments: tuple[str, ...]


def steps(trials: int) -> list[Step]:
    """Return the commands between the files and a served model."""
    return [
        Step(
            "Register what is known of carriers, airports, planes and routes",
            ("features", "apply", "definitions"),
        ),
        Step(
            "Bring the online store up to the day on which the model is trained",
            ("features", "materialize", "--until", TRAINED_AT),
        ),
        Step(
            "Make the training set: what was known of each flight two hours before it was to leave",
            ("features", "export", "--spine", "data/asked.parquet", "--time", "asked_at", "--views", VIEWS,
             "--transform", _CLOCK, "--out", SET),
        ),
        Step("Tune and fit", ("train", "train.toml", "--out", RUN, "--tune", str(trials), "--jobs", "2")),
        Step(
            "Export: to ONNX, proved equal to what was fitted, with its features, baseline and card",
            ("export", RUN, "--repository", "models", "--name", MODEL, "--transform", _CLOCK),
        ),
    ]  # fmt: skip


def prepare(folder: Path, say: Say) -> None:
    """Make the folder of the demo afresh, with its definitions and the data.

    Raises:
        TrainingError: It has something that is not the demo's, or the data is not installed.
    """
    marker = folder / "train.toml"
    if folder.exists() and any(folder.iterdir()) and not marker.exists():
        raise TrainingError(f"{folder}: has other files in it; name an empty folder, or a new one")
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "definitions").mkdir(parents=True)
    own = files("falaj.training.demo") / "files"
    for name, place in (("train.toml", "."), ("flights.py", "definitions"), ("clock.py", ".")):
        (folder / place / name).write_text((own / name).read_text(encoding="utf-8"), encoding="utf-8")
    begin = time.perf_counter()
    rows = ingest(folder / "data")
    told = ", ".join(f"{count:,} {name}" for name, count in rows.items())
    seconds = time.perf_counter() - begin
    say(f"Ingest the flights and the weather of 2013 from New York: {told} ({seconds:.1f} s)")


def run(step: Step, folder: Path, say: Say) -> float:
    """Run a command in the demo's folder, and return how long it took, seconds.

    Raises:
        TrainingError: It failed; what it said stands on the terminal.
    """
    say(f"{step.why}\n$ falaj {' '.join(step.arguments)}")
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "falaj.server", *step.arguments], cwd=folder)
    seconds = time.perf_counter() - begin
    if done.returncode != 0:
        raise TrainingError(f"falaj {' '.join(step.arguments)}: ended with exit code {done.returncode}")
    return seconds


def serve_flags(ports: Sequence[int]) -> list[str]:
    """Return the flags of the server, whose requests may say as of when they are."""
    names = ("--http-port", "--grpc-port", "--metrics-port")
    flags = [text for name, port in zip(names, ports, strict=True) for text in (name, str(port))]
    return ["--repository", "models", "--set", "features.as_of=true", "--drain-seconds", "0", *flags]

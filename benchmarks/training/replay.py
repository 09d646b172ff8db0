"""Replays the whole test period of the demo's flights through HTTP, gRPC and `falaj.Engine`, by entity key.

Needs what `falaj demo` left in a folder. Every transport asks about every flight, each looked up as of two
hours before it was to leave, from a store that is brought up to July and then pushed what becomes known. Exit
code is 1 where an answer differs from training's own prediction by more than 1e-5.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

import falaj
from benchmarks.engine.machine import stamp
from benchmarks.engine.report import Section, Target
from falaj.training.demo import server
from falaj.training.demo.data import TRAINED_AT
from falaj.training.demo.outcome import BOUND, months_of, predictions_of, run_of
from falaj.training.demo.replay import Pusher, Replayed, Transport, replay, waves
from falaj.training.demo.screen import latencies, shown
from falaj.training.demo.steps import MODEL, VIEWS, serve_flags
from falaj.training.demo.transports import Grpc, Http, InProcess


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("build/demo"), help="of `falaj demo`")
    parser.add_argument("--until", default="2014-01-02T00:00:00Z", help="flights asked about before then")
    arguments = parser.parse_args()
    folder: Path = arguments.folder.resolve()
    print(stamp())
    with tempfile.TemporaryDirectory(prefix="replay-", dir=folder) as scratch:
        store = f"lmdb://{scratch}/online"
        command = ["features", "materialize", "--views", VIEWS, "--until", TRAINED_AT, "--store", store]
        subprocess.run([sys.executable, "-m", "falaj.server", *command], cwd=folder, check=True)
        served = server.start(folder, [*serve_flags((0, 0, 0)), "--set", f"features.store={store}"])
        try:
            done, transports, seconds = _replayed(folder, served, store, arguments.until)
        finally:
            server.stop(folder)
    return _report(folder, done, transports, seconds)


def _replayed(
    folder: Path, served: server.Served, store: str, until: str
) -> tuple[Replayed, list[Transport], float]:
    all_waves = waves(folder / "data", TRAINED_AT, until)
    os.chdir(folder)  # as the server's, the store's path is of here
    with falaj.Engine(folder / "models", features=store, features_as_of=True) as engine:
        transports: list[Transport] = [
            Http(served.http, MODEL),
            Grpc(served.grpc, MODEL),
            InProcess(engine, MODEL),
        ]
        total = sum(len(wave.asked) for wave in all_waves)
        begin = time.perf_counter()
        with shown(total, transports, print) as tell:
            done = replay(all_waves, Pusher(served.http).push, transports, tell, each=True)
        return done, transports, time.perf_counter() - begin


def _report(folder: Path, done: Replayed, transports: list[Transport], seconds: float) -> int:
    run = run_of(folder)
    expected = predictions_of(run).scores[: len(done.late)]
    title = f"{len(expected):,} flights, {done.pushed:,} rows pushed, {seconds:.0f} s"
    section = Section(title, ["by", "differ", "largest difference", "requests"])
    for place, each in enumerate(transports):
        difference = np.abs(done.by[place].astype(np.float64) - expected)
        differ = int((~(difference <= BOUND)).sum())
        section.rows.append([each.name, f"{differ:,}", f"{np.nanmax(difference):.1e}", latencies(each)])
        section.targets.append(
            Target(f"answers by {each.name} that differ by more than {BOUND:g}", differ, "=", 0)
        )
    print(section.text())
    months = Section("Test period by month, as in 2013", ["month", "flights", "late", "AUC", "AUC without"])
    months.notes.append(
        "without: scikit-learn's gradient boosting on the same rows, without the rolling features"
    )
    for month in months_of(folder, run):
        figures = [f"{month.flights:,}", f"{month.late:.1%}", f"{month.auc:.4f}", f"{month.plain_auc:.4f}"]
        months.rows.append([f"{month.month:02d}", *figures])
    print(months.text())
    return 0 if all(target.met for target in section.targets) else 1


if __name__ == "__main__":
    raise SystemExit(main())

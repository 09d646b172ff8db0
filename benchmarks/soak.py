"""A long mixed load on several models, and many loads of one: is every request answered once and rightly, and
does memory stay where it is? See docs/benchmarks.md.

The exit code is 1 if a request was answered wrongly or not at all; memory is reported, not judged.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.soak_load import Load, make_models
from benchmarks.soak_memory import Divert, MemorySampler, rss_mib
from falaj import Engine
from tests import zoo

WARM_UP = 0.2  # of the requests, before memory is looked at
STEADY = 0.02
# Loading is what is repeated here, not trials.
CYCLE_SETTINGS = "tune_ms = 0\ninstances = 2\nthreads = 1\nmax_batch_size = 8\n"


def soak(requests: int, folder: Path, reload_every: float) -> dict[str, Any]:
    """Send the mixed load while models are reloaded, and look at memory."""
    models = make_models(folder)
    with Divert() as logged, Engine(folder, strict=True) as engine, MemorySampler() as memory:
        load = Load(engine, models, requests)
        load.start()
        begin, reloads, warm = time.perf_counter(), 0, 0.0
        names = [model.name for model in models]
        said = begin
        while load.running():
            time.sleep(reload_every)
            engine.reload(names[reloads % len(names)])
            reloads += 1
            if not warm and load.ended() >= WARM_UP * requests:
                warm = time.perf_counter()
            if time.perf_counter() - said > 5:
                said = time.perf_counter()
                logged.say(f"{load.ended():,} of {requests:,} requests, RSS {rss_mib():.1f} MiB")
        result = load.finish()
        seconds = time.perf_counter() - begin
        left = {row["name"]: row["inflight_requests"] for row in engine.stats()}
        samples = memory.since(warm or begin)
    result.update(reloads=reloads, seconds=round(seconds, 1), left_in_flight=sum(left.values()))
    result["stderr_lines"] = logged.lines
    result["memory"] = _steadiness(samples)
    result["ok"] = not result["wrong"] and result["started"] == result["ended"] and not any(left.values())
    return result


def cycle(cycles: int, folder: Path, name: str) -> dict[str, Any]:
    """Load and unload a model again and again."""
    zoo.save(zoo.mlp() if name == "mlp" else zoo.conv_net(), folder)
    (folder / name / "model.toml").write_text(CYCLE_SETTINGS)
    with Engine(folder) as engine:
        seen = []
        begin = time.perf_counter()
        for done in range(1, cycles + 1):
            engine.unload(name)
            seen.append(rss_mib())
            engine.load(name)
            if done % max(1, cycles // 10) == 0:
                print(f"{done} of {cycles} cycles, RSS unloaded {seen[-1]:.1f} MiB", file=sys.stderr)
        seconds = time.perf_counter() - begin
        engine.unload(name)
        last = rss_mib()
    warm = seen[max(0, min(len(seen) - 1, len(seen) // 10))]
    return {
        "cycles": cycles,
        "model": name,
        "ms_per_cycle": round(seconds / cycles * 1e3, 2),
        "rss_first_mib": round(seen[0], 2),
        "rss_after_a_tenth_mib": round(warm, 2),
        "rss_last_mib": round(last, 2),
        "kib_per_cycle_after_a_tenth": round((last - warm) * 1024 / max(1, cycles * 0.9), 3),
        "change": round(last / warm - 1, 4),
        "target_met": abs(last / warm - 1) <= STEADY,
    }


def _steadiness(samples: list[float]) -> dict[str, Any]:
    first, last = samples[0], samples[-1]
    deviation = max(abs(sample / first - 1) for sample in samples)
    return {
        "samples": len(samples),
        "rss_first_after_warm_up_mib": round(first, 2),
        "rss_last_mib": round(last, 2),
        "rss_max_mib": round(max(samples), 2),
        "change": round(last / first - 1, 4),
        "max_deviation": round(deviation, 4),
        "target": STEADY,
        "target_met": deviation <= STEADY,
    }


def main() -> int:
    """Run what was asked for and print the summary as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--requests", type=int, default=0, help="of the mixed load; full size: 1000000")
    parser.add_argument("--cycles", type=int, default=0, help="of load and unload; full size: 1000")
    parser.add_argument("--cycle-model", choices=("mlp", "conv_net"), default="mlp")
    parser.add_argument("--reload-every", type=float, default=0.5, help="seconds between reloads (0.5)")
    arguments = parser.parse_args()
    if arguments.requests <= 0 and arguments.cycles <= 0:
        parser.error("give --requests, --cycles or both")
    summary: dict[str, Any] = {}
    for wanted, name in ((arguments.requests, "soak"), (arguments.cycles, "cycles")):
        if wanted <= 0:
            continue
        with tempfile.TemporaryDirectory(prefix="falaj-soak-") as folder:
            if name == "soak":
                summary[name] = soak(wanted, Path(folder), arguments.reload_every)
            else:
                summary[name] = cycle(wanted, Path(folder), arguments.cycle_model)
    print(json.dumps(summary, indent=1))
    return 0 if summary.get("soak", {"ok": True})["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())

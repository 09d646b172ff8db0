"""What `falaj tune` chooses for an MLP, a conv net and a transformer encoder, its gain and the search's cost.

The nets are those of benchmarks/training. See docs/tune.md. The exit code is 1 where a target is missed.
"""

import argparse
import json
import math
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from benchmarks.engine.machine import stamp
from benchmarks.engine.report import Section, Target
from benchmarks.training.nets import NAMES, Net, trained
from falaj._core import usable_cores
from falaj.server.tuning.confirm import Compared
from falaj.server.tuning.run import Goal, tune_model
from falaj.server.tuning.setting import Setting
from falaj.server.tuning.subject import subject_at
from falaj.server.tuning.trial_server import Asking
from falaj.server.tuning.tuned import Tuned
from falaj.server.tuning.variants import Sources, prepared

# Milliseconds that callers wait: some ten times what a request takes alone.
_SLO_MS = {"mlp": 5.0, "conv": 50.0, "transformer": 30.0}
# What there is to choose from: settings of the original, or of variants in other precisions, too.
_CHOICES = ("settings", "variants")
_ROWS = 1
_CONNECTIONS = 64


def measure(
    net: Net, slo_ms: float, seconds: float, variants: tuple[str, ...] | None, choices: tuple[str, ...]
) -> Section:
    """Tune a net that was trained, with and without variants in other precisions to choose from."""
    section = Section(
        f"{net.name}, {net.told}: requests/s of {_ROWS} row by HTTP with p99 <= {slo_ms:g} ms",
        ("choices", "defaults", "chosen", "requests/s", "x the defaults", "verdict", "tried", "search s"),
    )
    with tempfile.TemporaryDirectory(prefix="falaj-tune-bench-") as folder:
        model, rows = _written(net, Path(folder))
        found = {}
        for name in choices:
            names = () if name == "settings" else variants
            found[name] = _tuned(model, rows, slo_ms, seconds, names)
            section.rows.append(_row(name, *found[name]))
    for name, (tuned, took) in found.items():
        section.data[name] = {**tuned.plain(), "with_variants_s": took}
        section.notes += [f"{name}: {line}" for line in tuned.lines()]
        # What is written is faster than the defaults, or nothing is.
        low = tuned.compared.low if tuned.better and tuned.compared is not None else 1.0
        section.targets.append(Target(f"{net.name}, {name}, lower end of the gain", low, ">=", 1.0))
    return section


def _written(net: Net, folder: Path) -> tuple[Path, Path]:
    model, rows = folder / "models" / net.name, folder / "rows.npz"
    (model / "1").mkdir(parents=True)
    (model / "1" / "model.onnx").write_bytes(net.model.SerializeToString())
    np.savez(rows, x=net.test, label=net.test_labels)
    np.savez(folder / "train.npz", x=net.train)
    return model, rows


def _tuned(
    model: Path, rows: Path, slo_ms: float, seconds: float, variants: tuple[str, ...] | None
) -> tuple[Tuned, float]:
    """The result, and the seconds that all of it took, the making of variants too."""
    begin = time.monotonic()
    subject = subject_at(model)
    learn = None if variants == () else rows.with_name("train.npz")
    sources = Sources(rows, variants, learn, "label", "accuracy")
    with prepared(subject, sources) as made:
        asking = Asking("http", _ROWS, _CONNECTIONS, _CONNECTIONS, data=made.inputs)
        tuned = tune_model(subject, Goal(slo_ms, seconds, usable_cores()), asking, made.variants())
    return tuned, time.monotonic() - begin


def _row(choices: str, tuned: Tuned, took: float) -> tuple[str, ...]:
    defaults = Setting("original", *_values(tuned)).text()
    chosen = tuned.choice.text() if tuned.choice is not None else ""
    rate, gain = "none", ""
    if tuned.compared is not None:
        rates = sorted(each.rate for each in tuned.compared.setting)
        rate, gain = f"{rates[len(rates) // 2]:,.0f}", _gain(tuned.compared)
    tried = f"{len(tuned.searched.tried)} of {len(tuned.searched.tried) + tuned.searched.left_out}"
    verdict = "written" if tuned.better else "the defaults are best"
    return choices, defaults, chosen, rate, gain, verdict, tried, f"{took:.0f}"


def _values(tuned: Tuned) -> tuple[int, int, int]:
    return tuned.defaults.instances, tuned.defaults.threads, tuned.defaults.max_batch_size


def _gain(compared: Compared) -> str:
    if math.isinf(compared.gain):
        return "the defaults hold no rate"
    return f"{compared.gain:.2f} ({compared.low:.2f}..{compared.high:.2f})"


def main() -> int:
    """Train, tune and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nets", default=",".join(NAMES), help=f"({','.join(NAMES)})")
    parser.add_argument("--seconds", type=float, default=120, help="of each search and comparison (120)")
    parser.add_argument("--slo-ms", type=float, help="by default 5 for the MLP, 50 conv, 30 transformer")
    parser.add_argument("--variants", help="by default those that may be faster")
    parser.add_argument("--choices", default=",".join(_CHOICES), help=f"({','.join(_CHOICES)})")
    parser.add_argument("--epochs", type=int, help="by default what each net needs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all figures")
    arguments = parser.parse_args()
    for key, value in stamp().items():
        print(f"{key}: {value}")
    variants = None if arguments.variants is None else tuple(arguments.variants.split(","))
    sections = []
    for name in arguments.nets.split(","):
        net = trained(name, arguments.epochs)
        slo_ms = arguments.slo_ms or _SLO_MS[name]
        choices = tuple(arguments.choices.split(","))
        sections.append(measure(net, slo_ms, arguments.seconds, variants, choices))
        print(sections[-1].text(), flush=True)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([section.as_json() for section in sections]))
    return 0 if all(target.met for section in sections for target in section.targets) else 1


if __name__ == "__main__":
    sys.exit(main())

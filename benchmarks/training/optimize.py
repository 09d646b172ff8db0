"""What INT8 and FP16 are worth for an MLP, a conv net and a transformer encoder. See docs/optimize.md.

The exit code is 1 where a target is missed.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.engine.machine import stamp
from benchmarks.engine.report import Section, Target
from benchmarks.training.nets import NAMES, Net, trained
from falaj.training.optimize.bounds import SpeedRules
from falaj.training.optimize.optimize import Truth, optimize
from falaj.training.optimize.report import Report, VariantReport
from falaj.training.optimize.speed import Speed

# What the kept variant should be worth at 32 rows; of none 1. From the first measurements on this kind of
# machine: conv nets 2.6-3.1, transformers 1.6-2.1, a tiny MLP nothing.
_LEAST = {"mlp": 1.0, "conv": 2.6, "transformer": 1.6}
_DECISIVE = 32


def measure(net: Net, rounds: int) -> Section:
    """Try all variants of a net that was trained, and tell all figures."""
    sizes = SpeedRules().batches
    rules = SpeedRules(batches=sizes, rounds=rounds)
    found = optimize(
        net.model,
        {"x": net.test},
        Truth(net.test_labels, "accuracy"),
        calibration={"x": net.train},
        rules=rules,
    ).report
    section = Section(
        f"{net.name}, {net.told}: accuracy on {len(net.test)} scans; rows/s of one thread, x the original's "
        "CPU time / the variant's as served, and its 95 % interval",
        ("variant", "KB", "accuracy", "flips", "mean error", *[f"{size} rows" for size in sizes], ""),
        data={net.name: found.plain()},
    )
    section.rows.append(
        (
            *("original", _kilobytes(found.original.bytes), f"{_accuracy(found):.4f}", "", ""),
            *[f"{speed.rate:,.0f}" for speed in found.original.speeds],
            "",
        )
    )
    section.rows += [_row(variant) for variant in found.variants]
    section.notes += [line for line in found.lines() if "speed at" not in line]
    section.targets.append(Target(f"{net.name} at {_DECISIVE} rows", _gain(found), ">=", _LEAST[net.name]))
    return section


def _row(variant: VariantReport) -> tuple[str, ...]:
    quality = variant.quality
    if quality is None or quality.loss is None:
        return (variant.name, *[""] * (4 + len(SpeedRules().batches)), variant.outcome)
    return (
        variant.name,
        _kilobytes(variant.bytes),
        f"{quality.loss.variant:.4f}",
        f"{quality.worst('flips'):.4f}",
        f"{quality.worst('mean_error'):.4f}",
        *map(_speed, variant.speeds),
        variant.outcome + ("" if variant.batchable else ", rows alone"),
    )


def _speed(speed: Speed) -> str:
    return f"{speed.rate:,.0f} x{'' if speed.served is None else speed.served.text()}"


def _kilobytes(size: int) -> str:
    return f"{size / 1000:,.0f}"


def _accuracy(report: Report) -> float:
    return next(of.quality.loss.original for of in report.variants if of.quality and of.quality.loss)


def _gain(report: Report) -> float:
    """The median of what is kept; 1 where the original is."""
    for variant in report.variants:
        for speed in variant.speeds:
            if variant.name == report.kept and speed.rows == _DECISIVE and speed.served is not None:
                return speed.served.median
    return 1.0


def main() -> int:
    """Train, optimise and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="(15)")
    parser.add_argument("--nets", default=",".join(NAMES), help=f"({','.join(NAMES)})")
    parser.add_argument("--epochs", type=int, help="by default what each net needs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all figures")
    arguments = parser.parse_args()
    for key, value in stamp().items():
        print(f"{key}: {value}")
    sections = []
    for name in arguments.nets.split(","):
        sections.append(measure(trained(name, arguments.epochs), arguments.rounds))
        print(sections[-1].text(), flush=True)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([section.as_json() for section in sections]))
    return 0 if all(target.met for section in sections for target in section.targets) else 1


if __name__ == "__main__":
    sys.exit(main())

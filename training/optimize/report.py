"""What was found of every variant: for people as a table, for `bundle.json` and programs as plain values."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from falaj.training.optimize.bounds import Bounds, SpeedRules
from falaj.training.optimize.quality import Quality
from falaj.training.optimize.speed import Speed

if TYPE_CHECKING:
    from rich.table import Table

Outcome = Literal["kept", "passed", "rejected", "not applicable", "failed"]


@dataclass(frozen=True)
class VariantReport:
    """One variant.

    Attributes:
        outcome: `kept`, the best of those that pass; `passed`, another; `rejected` by the reasons;
            `not applicable` or `failed`: there is none, and the reason says why.
        how: How it was made.
        bytes, sha256: Of its file.
        batchable: Whether the server puts rows of several requests together; if not, its speeds as `served`
            are of rows that run alone.
        load_ms: Time to load it, once.
    """

    name: str
    outcome: Outcome
    reasons: tuple[str, ...] = ()
    how: str = ""
    bytes: int = 0
    sha256: str = ""
    portable: bool = True
    batchable: bool = True
    load_ms: float = 0.0
    quality: Quality | None = None
    speeds: tuple[Speed, ...] = ()


@dataclass(frozen=True)
class OriginalReport:
    """The model that the variants were made of."""

    bytes: int
    sha256: str
    batchable: bool
    load_ms: float
    speeds: tuple[Speed, ...]


@dataclass(frozen=True)
class Report:
    """All that was tried, and on what.

    Attributes:
        kept: Name of the variant that is worth it; None where none is.
        calibration_rows, evaluation_rows: How many rows ranges were taken from, and answers compared on.
        rules: As they were applied: batch sizes that the model cannot have are not in them.
        machine: The processor, and the versions of ONNX Runtime that ran the model and made the variants.
    """

    kept: str | None
    original: OriginalReport
    variants: tuple[VariantReport, ...]
    calibration_rows: int
    evaluation_rows: int
    bounds: Bounds
    rules: SpeedRules
    machine: dict[str, str]

    def plain(self) -> dict[str, Any]:
        """Return it as JSON can have it; what is not finite as null."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain

    def lines(self) -> list[str]:
        """Return what was decided, one line for each variant with its reasons under it."""
        told = [self.verdict()]
        for variant in self.variants:
            told.append(f"{variant.name}: {variant.outcome}")
            told += [f"  {reason}" for reason in variant.reasons]
        return told

    def verdict(self) -> str:
        """Return the decision in one line."""
        if self.kept is None:
            return "no variant is worth it: the model is best as it is"
        of = next(variant for variant in self.variants if variant.name == self.kept)
        faster = ", ".join(
            f"{speed.served.text()} at {speed.rows}"
            for speed in of.speeds
            if speed.served is not None and speed.rows in self.rules.decisive
        )
        smaller = of.bytes / self.original.bytes
        return (
            f"{self.kept}: times the original's speed by rows of a batch: {faster}; {smaller:.0%} of its size"
        )

    def table(self) -> "Table":
        """Return a table for a terminal: size, what is lost, and rows a second x how many times as fast."""
        from rich.table import Table

        header, rows = self._cells()
        table = Table(box=None)
        for place, name in enumerate(header):
            # Where a line is short, ratios go under their rates; names and outcomes stay whole.
            if place == 0:
                table.add_column(name, no_wrap=True)
            elif place == len(header) - 1:
                table.add_column(name, min_width=len("rejected"))
            else:
                table.add_column(name, justify="right", overflow="fold")
        for row in rows:
            table.add_row(*row)
        return table

    def csv(self) -> str:
        """Return one line for each variant and batch size, the original's first, with a header."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        quality = ("metric_loss", "flips", "mean_error", "max_error", "rank_correlation")
        ratios = ("together", "together_low", "together_high", "served", "served_low", "served_high")
        writer.writerow(
            ("variant", "outcome", "bytes", "batch", "rows_per_second", "cpu_us_per_row", *ratios, *quality)
        )
        for speed in self.original.speeds:
            figures = (self.original.bytes, speed.rows, speed.rate, speed.cpu_us)
            writer.writerow(("original", "", *figures, *[""] * (len(ratios) + len(quality))))
        for variant in self.variants:
            for speed in variant.speeds:
                writer.writerow(
                    (
                        *(variant.name, variant.outcome, variant.bytes, speed.rows, speed.rate, speed.cpu_us),
                        *_ratio_cells(speed),
                        *_quality_cells(variant.quality),
                    )
                )
        return text.getvalue()

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        sizes = [speed.rows for speed in self.original.speeds]
        header = ["variant", "KB", "loss", "flips", "mean error", *[f"rows/s at {size}" for size in sizes]]
        rows = [
            ["original", _kilobytes(self.original.bytes), "", "", ""]
            + [_rate(speed) for speed in self.original.speeds]
            + [""]
        ]
        for variant in self.variants:
            told = ["", "", ""]
            if variant.quality is not None:
                loss = variant.quality.loss
                told = [
                    _figure(None if loss is None else loss.loss),
                    _figure(variant.quality.worst("flips")),
                    _figure(variant.quality.worst("mean_error")),
                ]
            speeds = [_rate(speed) for speed in variant.speeds] or [""] * len(sizes)
            alone = "" if variant.batchable else " (rows alone)"
            size = _kilobytes(variant.bytes) if variant.bytes else ""
            rows.append([variant.name, size, *told, *speeds, variant.outcome + alone])
        return [*header, "outcome"], rows


def _rate(speed: Speed) -> str:
    times = "" if speed.served is None else f" x{speed.served.median:.2f}"
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if speed.rate >= unit:
            return f"{speed.rate / unit:.3g}{name}{times}"
    return f"{speed.rate:.3g}{times}"


def _kilobytes(size: int) -> str:
    return f"{size / 1000:,.1f}"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _ratio_cells(speed: Speed) -> Sequence[object]:
    cells: list[object] = []
    for ratio in (speed.together, speed.served):
        cells += ["", "", ""] if ratio is None else [ratio.median, ratio.low, ratio.high]
    return cells


def _quality_cells(quality: Quality | None) -> Sequence[object]:
    if quality is None:
        return [""] * 5
    loss = None if quality.loss is None else quality.loss.loss
    figures = [quality.worst(name) for name in ("flips", "mean_error", "max_error", "rank_correlation")]
    return ["" if value is None else value for value in (loss, *figures)]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value

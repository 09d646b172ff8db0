"""The command `falaj optimize`. What it needs is imported when it runs."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from falaj.training.errors import TrainingError

if TYPE_CHECKING:
    from falaj.training.optimize.optimize import Optimized, Truth
    from falaj.training.optimize.rows import Rows
    from falaj.training.optimize.version import Target


def optimize(
    model: Annotated[
        Path,
        typer.Argument(metavar="MODEL", help="models/NAME/VERSION, models/NAME (its latest), or a file."),
    ],
    data: Annotated[
        Path, typer.Option(metavar="FILE", help="Rows like those to be served: .npz, .parquet or .csv.")
    ],
    calibration: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Training rows to calibrate with; by default a part of --data."),
    ] = None,
    labels: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="What is true of the rows of --data.")
    ] = None,
    metric: Annotated[
        str | None, typer.Option(metavar="auc|accuracy|rmse", help="What is measured by the labels.")
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The output that the metric is of, if several could be."),
    ] = None,
    max_loss: Annotated[
        float, typer.Option(help="Of the metric; of rmse a share of the original's.")
    ] = 0.002,
    max_flips: Annotated[float, typer.Option(help="Share of rows whose label changes.")] = 0.01,
    max_mean_error: Annotated[float, typer.Option(help="In standard deviations of the output.")] = 0.05,
    max_error: Annotated[float, typer.Option(help="The largest, in the same unit.")] = 0.5,
    min_rank_correlation: Annotated[float, typer.Option(help="Where an output orders the rows.")] = 0.99,
    min_speed: Annotated[float, typer.Option(help="Times the original's, at the lower end.")] = 1.03,
    batches: Annotated[
        str, typer.Option(metavar="N,…", help="Rows of a batch that are measured.")
    ] = "1,8,32,128",
    decide_by: Annotated[str, typer.Option(metavar="N,…", help="Those that must be faster.")] = "1,8,32",
    rounds: Annotated[int, typer.Option(help="How often each is measured.")] = 15,
    variants: Annotated[
        str | None, typer.Option(metavar="A,B", help="By default all that are right on any machine.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the variant there, and no version.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write all figures there.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Try smaller and faster variants of a model, and write the best as its next version.

    One is kept only if it answers as well, and is measured to be faster on this machine. Where none is, the
    model is best as it is, and nothing is written.
    """
    from falaj.training.optimize.bounds import Bounds, SpeedRules
    from falaj.training.optimize.optimize import optimize as run
    from falaj.training.optimize.rows import read_rows, signature_of
    from falaj.training.optimize.version import target_at

    target = target_at(model)
    if out is not None and out.exists():
        raise TrainingError(f"--out {out}: is there already")
    bounds = Bounds(max_loss, max_flips, max_mean_error, max_error, min_rank_correlation)
    rules = SpeedRules(_sizes(batches, "--batches"), _sizes(decide_by, "--decide-by"), min_speed, rounds)
    signature = signature_of(target.file, target.bundle())
    rows = read_rows(data, signature, labels)
    learn = None if calibration is None else read_rows(calibration, signature, labels, labelled=False)
    names = None if variants is None else tuple(name.strip() for name in variants.split(","))
    with _progress() as tell:
        found = run(
            target.file,
            rows.inputs,
            _truth(rows, metric, output),
            calibration=None if learn is None else learn.inputs,
            bounds=bounds,
            rules=rules,
            variants=names,
            tell=tell,
        )
    if csv is not None:
        csv.write_text(found.report.csv(), encoding="utf-8")
    written = _write(target, found, out)
    if as_json:
        told = {"kept": found.report.kept, "written": None if written is None else str(written)}
        print(json.dumps({**told, "report": found.report.plain()}, ensure_ascii=False))
    else:
        _print(found, written)


def _truth(rows: "Rows", metric: str | None, output: str | None) -> "Truth | None":
    from falaj.training.optimize.metric import as_metric
    from falaj.training.optimize.optimize import Truth

    if (rows.labels is None) != (metric is None):
        raise TrainingError("expected --labels and --metric, or neither")
    if rows.labels is None or metric is None:
        return None
    return Truth(rows.labels, as_metric(metric), output)


def _sizes(text: str, option: str) -> tuple[int, ...]:
    try:
        return tuple(int(size) for size in text.split(","))
    except ValueError as error:
        raise TrainingError(f"{option}: expected numbers of rows such as 1,8,32, got {text!r}") from error


def _write(target: "Target", found: "Optimized", out: Path | None) -> Path | None:
    from falaj.training.optimize.version import write_file, write_version

    if found.model is None:
        return None
    if out is None and target.version is not None:
        return write_version(target, found.model, found.report)
    path = out or target.file.with_name(f"{target.file.stem}.{found.report.kept}.onnx")
    write_file(found.model, path)
    return path


def _print(found: "Optimized", written: Path | None) -> None:
    from rich.console import Console

    Console(soft_wrap=True).print(found.report.table())
    for line in found.report.lines():
        print(line)
    if written is not None:
        print(f"written: {written}")


@contextmanager
def _progress() -> Iterator[Callable[[float], None] | None]:
    """A bar on standard error while the context lasts; none where that is no terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    # Drawn when there is news only: a thread of its own would take CPU time that is being measured.
    with Progress(console=console, transient=True, auto_refresh=False) as bar:
        task = bar.add_task("optimizing", total=1.0)
        yield lambda share: bar.update(task, completed=share, refresh=True)

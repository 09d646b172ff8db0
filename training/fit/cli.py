"""The command `falaj train`. What it needs is imported when it runs."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from falaj.training.errors import TrainingError

if TYPE_CHECKING:
    from falaj.training.fit.bootstrap import Measured
    from falaj.training.fit.run import Run
    from falaj.training.fit.spec import TrainSpec


def train(
    spec: Annotated[
        Path | None,
        typer.Argument(metavar="SPEC", help="A file of TOML or Python, see docs/training.md."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The run's folder; by default the next in runs/.")
    ] = None,
    tune: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Trials of a study; by default as the spec says.")
    ] = None,
    jobs: Annotated[int, typer.Option(metavar="N", min=1, help="Trials at once.")] = 1,
    scale: Annotated[
        Literal["ray"] | None,
        typer.Option(help="Run trials, and fits of torch modules by --jobs workers, on Ray."),
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", min=0, help="By default as the spec says.")] = None,
    check: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Fit a run again, and compare its predictions.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> int:
    """Fit a model from a specification, and tell how good it is.

    The run's folder is complete or not there. A study that was killed goes on where the same is run again.
    """
    if check is not None:
        if spec is not None:
            raise TrainingError("--check takes a run, which has its specification; leave SPEC out")
        return _check(check, as_json)
    if spec is None:
        raise TrainingError("expected SPEC, or --check and a run")
    from falaj.training.fit.spec import read_spec

    read = read_spec(spec)
    read = read if seed is None else replace(read, seed=seed)
    read = read if tune is None else replace(read, tuning=replace(read.tuning, trials=tune))
    folder = out or _next_of(spec.stem)
    run = _fit(read, folder, jobs, scale or "")
    if as_json:
        print(json.dumps(_told(run, folder), ensure_ascii=False))
    else:
        _show(run, folder)
    return 0


def _fit(spec: "TrainSpec", out: Path, jobs: int, scale: str) -> "Run":
    from falaj.training.fit.run import fit

    with _progress() as tell:
        if scale != "ray":
            return fit(spec, out=out, jobs=jobs, tell=tell)
        from falaj.training.fit.ray_cluster import connected

        with connected():
            return fit(spec, out=out, jobs=jobs, scale=scale, tell=tell)


def _check(folder: Path, as_json: bool) -> int:
    from falaj.training.fit.run import compare, refit
    from falaj.training.fit.run_folder import read_run

    run = read_run(folder)
    with _progress() as tell:
        found = compare(run, refit(run, tell))
    if as_json:
        print(json.dumps({"run": str(folder), **asdict(found)}))
    elif not found.differing:
        print(f"{folder}: the same {found.rows} predictions, to the bit")
    else:
        print(f"{folder}: {found.differing} of {found.rows} predictions differ, by up to {found.largest:.3g}")
        for name, (then, now) in found.versions.items():
            print(f"{name}: {now}, was {then}")
        for told in run.circumstances.not_repeatable:
            print(told)
    return 1 if found.differing else 0


def _next_of(name: str) -> Path:
    """The first folder that is not there; so a study that was killed is found again."""
    number = 1
    while (folder := Path("runs") / f"{name}-{number}").exists():
        number += 1
    return folder


def _told(run: "Run", folder: Path) -> dict[str, object]:
    return {
        "run": str(folder),
        "task": run.task,
        "model": run.kind,
        "params": run.plain_params(),
        "rounds": run.rounds,
        "split": asdict(run.split),
        "metrics": {part: asdict(of.all) for part, of in run.metrics.items()},
        "tuned": None if run.tuned is None else asdict(run.tuned),
        "not_repeatable": list(run.circumstances.not_repeatable),
    }


def _show(run: "Run", folder: Path) -> None:
    sizes = ", ".join(f"{name} {size}" for name, size in run.split.sizes.items() if size)
    rounds = "" if run.rounds is None else f", {run.rounds} {'epochs' if run.family == 'torch' else 'rounds'}"
    print(f"{folder}: {run.kind}, {run.task}{rounds}")
    print(f"rows: {sizes}, by {run.split.kind}")
    for name, when in run.split.borders.items():
        print(f"{name}: {when}")
    if run.tuned is not None:
        of = run.tuned
        print(
            f"tuned: {of.trials} trials, {of.pruned} pruned, {of.failed} failed;"
            f" best {of.best}: {of.metric} {of.value:.5g}"
        )
    rows = [["metric", *run.metrics]]
    for name in run.metrics["test"].all.metrics:
        rows.append([name, *(_interval(of.all.metrics[name]) for of in run.metrics.values())])
    _print_table(rows)
    for told in run.circumstances.not_repeatable:
        print(f"not repeatable elsewhere: {told}")


def _interval(measured: "Measured") -> str:
    if measured.value is None:
        return "-"
    if measured.low is None or measured.high is None:
        return f"{measured.value:.4f}"
    return f"{measured.value:.4f} ({measured.low:.4f} to {measured.high:.4f})"


def _print_table(rows: list[list[str]]) -> None:
    """For people by Rich, for pipes in plain columns."""
    from rich.console import Console
    from rich.table import Table

    from falaj.features.online.keys import columns_of

    console = Console()
    if not console.is_terminal:
        print(columns_of(rows))
        return
    table = Table(*rows[0], box=None)
    for row in rows[1:]:
        table.add_row(*row)
    console.print(table)


@contextmanager
def _progress() -> Iterator[Callable[[str, float], None] | None]:
    """A bar on standard error while the context lasts; none where that is no terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("reading", total=1.0)
        yield lambda what, share: bar.update(task, description=what, completed=share)

"""The command `falaj tune`. What it needs is imported when it runs."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from falaj._core import InvalidInput, usable_cores

if TYPE_CHECKING:
    from falaj.server.tuning.subject import Subject
    from falaj.server.tuning.tuned import Tuned
    from falaj.server.tuning.variants import Prepared
    from falaj.server.tuning.written import Written

_SCHEMES = ("http", "grpc")


def tune(
    model: Annotated[
        Path,
        typer.Argument(metavar="MODEL", help="models/NAME (what is served of it), or models/NAME/VERSION."),
    ],
    slo_ms: Annotated[
        float, typer.Option(metavar="MS", help="In which 99 of 100 requests must be answered.")
    ],
    seconds: Annotated[
        float, typer.Option(help="For search and comparison; loading and variants come on top.")
    ] = 120.0,
    cores: Annotated[
        int | None, typer.Option(help="That the model may use; by default all that this process may.")
    ] = None,
    protocol: Annotated[str, typer.Option(metavar="http|grpc", help="How it is asked.")] = "http",
    rows: Annotated[int, typer.Option(help="Of a request.")] = 1,
    concurrency: Annotated[
        int, typer.Option(help="Requests under way where the first guess at a rate is made.")
    ] = 64,
    connections: Annotated[int, typer.Option(help="That requests come by, at most.")] = 64,
    shape: Annotated[
        list[str] | None, typer.Option(metavar="NAME:SIZE,…", help="Of an input with variable dimensions.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Rows like those to be served (.npz, .parquet, .csv), or requests (.json); else random.",
        ),
    ] = None,
    variants: Annotated[
        str | None,
        typer.Option(
            metavar="A,B|none", help="Of `falaj optimize`; with rows by default those that may be faster."
        ),
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Training rows; by default a part of --data.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="What is true of the rows of --data.")
    ] = None,
    metric: Annotated[
        str | None, typer.Option(metavar="auc|accuracy|rmse", help="What variants are measured by.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what model.toml would say, and write nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Search how a model is served fastest inside a bound on latency, and write it into its model.toml.

    Instances, threads, the bound of a batch, and variants in other precisions are tried by a server of its
    own on this machine, under real load. What is found is compared with the defaults in turns, and written
    only where it is faster.
    """
    from falaj.server.bench.options import shapes_of
    from falaj.server.tuning.run import Goal, tune_model
    from falaj.server.tuning.subject import subject_at
    from falaj.server.tuning.trial_server import Asking
    from falaj.server.tuning.variants import Sources, prepared
    from falaj.server.tuning.written import toml_of

    if protocol not in _SCHEMES:
        raise InvalidInput(f"--protocol: expected http or grpc, got '{protocol}'")
    goal = Goal(slo_ms, seconds, cores if cores is not None else usable_cores())
    subject = subject_at(model)
    sources = Sources(data, _names(variants), calibration, labels, metric)
    shapes = tuple(shapes_of(shape or ()).items())
    with (
        _progress() as tell,
        prepared(subject, sources, lambda share: tell(share, "making variants")) as made,
    ):
        asking = Asking(protocol, rows, concurrency, connections, shapes, made.inputs)
        tuned = tune_model(subject, goal, asking, made.variants(), tell)
        tuned = replace(tuned, variants=made.lines())
        written = None if dry_run or not tuned.better else _written(subject, tuned, made)
    text = toml_of(subject, tuned.choice) if tuned.better and tuned.choice is not None else None
    if as_json:
        paths = [] if written is None else [str(path) for path in written.paths]
        print(json.dumps({"written": paths, "model_toml": text, **tuned.plain()}, ensure_ascii=False))
    else:
        _print(tuned, written, text if dry_run else None)


def _names(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    return () if text == "none" else tuple(name.strip() for name in text.split(","))


def _written(subject: "Subject", tuned: "Tuned", made: "Prepared") -> "Written":
    from falaj.server.tuning.written import write

    assert tuned.choice is not None
    return write(subject, tuned.choice, made.sound)


def _print(tuned: "Tuned", written: "Written | None", text: str | None) -> None:
    from rich.console import Console

    Console(soft_wrap=True).print(tuned.table())
    for line in tuned.lines():
        print(line)
    if written is not None:
        print(*(f"written: {path}" for path in written.paths), *written.notes, sep="\n")
    elif text is not None:
        print("model.toml would say:", text, sep="\n", end="")


@contextmanager
def _progress() -> Iterator[Callable[[float, str], None]]:
    """A bar on standard error while the context lasts; none where that is no terminal."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda share, what: None
        return
    # Drawn when there is news only: a thread of its own would take CPU time that is being measured.
    with Progress(console=console, transient=True, auto_refresh=False) as bar:
        task = bar.add_task("starting a server", total=1.0)
        yield lambda share, what: bar.update(task, completed=share, description=escape(what), refresh=True)

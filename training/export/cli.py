"""The command `falaj export`. What it needs is imported when it runs."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from falaj.training.errors import ExportRefused, TrainingError

if TYPE_CHECKING:
    from falaj.features.binding import BoundView
    from falaj.features.registry import Registered
    from falaj.features.transform import Transform
    from falaj.training.bundle.card import Steward
    from falaj.training.export.export import Exported, Subject
    from falaj.training.export.wanted import Wanted

_RUN = "run.json"  # by which the folder of a run is known
_DATA_DIR = Path(".falaj")


What = Annotated[
    Path, typer.Argument(metavar="WHAT", help="A run of `falaj train`, or a model's file beside --data.")
]
Name = Annotated[str, typer.Option(metavar="NAME", help="Of the model in the repository.")]
Repository = Annotated[Path, typer.Option(metavar="DIR", help="Is made where it is not there.")]
Data = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Of a model's file: rows as it was fitted on, .parquet, .csv or .npz."),
]
Target = Annotated[str | None, typer.Option(metavar="COLUMN", help="Of --data: what came of each row.")]
Time = Annotated[str | None, typer.Option(metavar="COLUMN", help="Of --data: when each row was.")]
LeaveOut = Annotated[
    list[str] | None,
    typer.Option(metavar="COLUMN", help="Of --data: the model does not take it; repeatable."),
]
TaskTold = Annotated[
    Literal["binary", "multiclass", "regression", "other"] | None,
    typer.Option(help="Of a model's file that does not tell."),
]
Classes = Annotated[
    str | None, typer.Option(metavar="A,B", help="Of a model's file: its labels, in the order of the scores.")
]
Module = Annotated[
    str | None, typer.Option(metavar="FILE.py:NAME", help="What makes the module of a torch state dict.")
]
Outputs = Annotated[
    str | None, typer.Option(metavar="A,B", help="Of a torch module: what its outputs are called.")
]
Views = Annotated[
    str | None,
    typer.Option(
        metavar="A@1,B", help="Whose columns are looked up; by default those of the feature export."
    ),
]
Bind = Annotated[
    list[str] | None,
    typer.Option(
        metavar="X=A__INCOME,AMOUNT:FP32",
        help="The columns of an input: features, and values of requests; repeatable. By default columns "
        "called VIEW__COLUMN are features.",
    ),
]
OnMissing = Annotated[
    str | None,
    typer.Option(metavar="default|nan|reject", help="For entities that are missing; by default as trained."),
]
Transforms = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE.py:NAME",
        help="Runs before the model, in its graph; repeatable. By default those of the feature export.",
    ),
]
Purpose = Annotated[str, typer.Option(metavar="TEXT", help="For the model card.")]
Owner = Annotated[str, typer.Option(metavar="TEXT", help="For the model card.")]
Rows = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Training rows that are compared; by default all.")
]
Seed = Annotated[int, typer.Option(metavar="N", min=0, help="Of the rows that are tried.")]
DataDir = Annotated[Path, typer.Option(metavar="FOLDER", help="Of what Falaj keeps.")]
Json = Annotated[bool, typer.Option("--json", help="For programs.")]


def export(
    what: What,
    name: Name,
    repository: Repository = Path("models"),
    data: Data = None,
    target: Target = None,
    time: Time = None,
    leave_out: LeaveOut = None,
    task: TaskTold = None,
    classes: Classes = None,
    module: Module = None,
    outputs: Outputs = None,
    views: Views = None,
    bind: Bind = None,
    on_missing: OnMissing = None,
    transform: Transforms = None,
    purpose: Purpose = "",
    owner: Owner = "",
    rows: Rows = None,
    seed: Seed = 0,
    data_dir: DataDir = _DATA_DIR,
    as_json: Json = False,
) -> int:
    """Write a model as a bundle that serves, if the exported graph answers as the model does.

    The graph is run by Falaj's own engine on the training rows and on hostile ones. Where it answers
    otherwise, nothing is written, the rows are shown, and the exit code is 1.
    """
    from falaj.training.export.export import export as make

    wanted = _wanted(views, bind or [], on_missing, transform, data_dir)
    wanted = replace(wanted, purpose=purpose, owner=owner)
    with _progress() as tell:
        tell("reading")
        told = {"target": target, "time": time, "leave_out": leave_out, "task": task, "classes": classes}
        subject = _subject(what, wanted, data, {**told, "module": module, "outputs": outputs})
        subject = replace(subject, stewards=_stewards(subject, data_dir))
        try:
            made = make(subject, repository, name, most_rows=rows, seed=seed, tell=tell)
        except ExportRefused as error:
            refusal = str(error)
        else:
            refusal = ""
    if refusal:
        if as_json:
            print(json.dumps({"exported": None, "refused": refusal}, ensure_ascii=False))
        sys.stderr.write(f"falaj: refused: {refusal}\n")
        return 1
    _show(made, subject, as_json)
    return 0


def _wanted(
    views: str | None, bind: list[str], on_missing: str | None, transform: list[str] | None, data_dir: Path
) -> "Wanted":
    from falaj.features.binding import as_on_missing
    from falaj.training.export.wanted import Wanted

    missing = None if on_missing is None else as_on_missing(on_missing)
    return Wanted(
        views=None if views is None else _views(views, on_missing or "default", data_dir),
        inputs=bind,
        on_missing=missing,
        transforms=None if transform is None else _transforms(transform),
    )


def _views(names: str, on_missing: str, data_dir: Path) -> "list[BoundView]":
    from falaj.features.binding import BoundView, as_on_missing
    from falaj.features.identity import view_of
    from falaj.features.registry import Registry

    registry = Registry(data_dir / "features.db")
    found = [registry.named(name.strip()) for name in names.split(",")]
    return [BoundView(view_of(each.meaning), as_on_missing(on_missing)) for each in found]


def _transforms(references: Sequence[str]) -> "tuple[Transform, ...]":
    from falaj.features.transform.load import load_transform

    return tuple(map(load_transform, references))


def _stewards(subject: "Subject", data_dir: Path) -> "dict[str, Steward]":
    """Who answers for the views that are looked up, where their registry is at hand."""
    from falaj.features.registry import Registry

    path = data_dir / "features.db"
    if subject.binding is None or not path.is_file():
        return {}
    wanted = {(each.view.name, each.view.version) for each in subject.binding.views}
    return {
        found.name: _steward(found)
        for found in Registry(path).versions()
        if (found.name, found.version) in wanted
    }


def _steward(found: "Registered") -> "Steward":
    from falaj.features.view import Tags
    from falaj.training.bundle.card import Steward

    told = found.stewardship
    return Steward(told["owner"], Tags(told["purpose"], told["sensitivity"], told["jurisdiction"]))


def _subject(what: Path, wanted: "Wanted", data: Path | None, told: Mapping[str, Any]) -> "Subject":
    """What is to be exported: of a run, or of a model's file and what is told of it."""
    if (what / _RUN).is_file():
        from falaj.training.export.run_subject import subject_of_run

        for name, value in {"data": data, **told}.items():
            if value is not None:
                option = name.replace("_", "-")
                raise TrainingError(f"--{option}: is of a model that is brought; a run tells it itself")
        return subject_of_run(what, wanted)
    if data is None:
        raise TrainingError(f"{what}: is no run of `falaj train`; a model's file needs rows, as --data")
    from falaj.training.export.sample_subject import Brought, subject_of_file

    brought = Brought(
        what,
        data,
        target=told["target"],
        time=told["time"],
        leave_out=told["leave_out"] or (),
        task=told["task"],
        classes=_classes(told["classes"]),
        module=told["module"] or "",
        outputs=_names(told["outputs"]),
    )
    return subject_of_file(brought, wanted)


def _names(text: str | None) -> list[str]:
    return [] if text is None else [name.strip() for name in text.split(",")]


def _classes(text: str | None) -> tuple[int | str, ...]:
    """Labels, which are numbers where all of them can be."""
    labels = _names(text)
    return tuple(map(int, labels)) if all(map(_is_whole, labels)) else tuple(labels)


def _is_whole(label: str) -> bool:
    return label.removeprefix("-").isdecimal()


def _show(made: "Exported", subject: "Subject", as_json: bool) -> None:
    if as_json:
        from falaj.training.bundle.bundle import read_bundle

        bundle = read_bundle(made.folder)
        told = {"exported": str(made.folder), "files": dict(bundle.files), "parity": dict(bundle.parity)}
        print(json.dumps({**told, "metrics": list(bundle.metrics)}, ensure_ascii=False))
        return
    print("\n".join(made.parity.lines()))
    for bound in () if subject.binding is None else subject.binding.inputs:
        print(f"{bound.name}: {', '.join(map(str, bound.columns))}")
    print(f"exported: {made.folder}")


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """A line on standard error that says what is done; none where that is no terminal."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda what: None
        return
    with console.status("") as status:
        yield lambda what: status.update(what)

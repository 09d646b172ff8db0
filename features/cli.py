"""The commands `falaj features`. What a command needs is imported when it runs."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from falaj.features.errors import DefinitionError

if TYPE_CHECKING:
    from datetime import datetime

    from falaj.features.offline.manifest import Manifest
    from falaj.features.offline.resources import Resources
    from falaj.features.offline.spine import Spine
    from falaj.features.offline.transformed import Transforms
    from falaj.features.registry import Registered, Registry
    from falaj.features.view import View

features = typer.Typer(no_args_is_help=True)

DataDir = Annotated[Path, typer.Option(metavar="FOLDER", help="Folder of what Falaj keeps.")]
Json = Annotated[bool, typer.Option("--json", help="For programs.")]
Reference = Annotated[str, typer.Argument(metavar="VIEW[@VERSION]", help="By default its latest version.")]
Memory = Annotated[
    str | None, typer.Option(metavar="SIZE", help="Such as 2GB; by default most of the machine's.")
]
Threads = Annotated[int | None, typer.Option(metavar="N", help="By default one for each core.")]
Store = Annotated[
    str | None,
    typer.Option(
        metavar="URL", help="lmdb://FOLDER or redis://HOST; by default a folder in the data folder."
    ),
]
_DATA_DIR = Path(".falaj")


@features.callback()
def features_group() -> None:
    """Define features, and see what is defined."""


@features.command()
def apply(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Its *.py files hold the definitions.")],
    data_dir: DataDir = _DATA_DIR,
    as_json: Json = False,
) -> None:
    """Check the definitions of a folder and register them, all or none.

    A definition that differs from what is registered under its version is refused.
    """
    from falaj.features.definitions import load_definitions
    from falaj.features.source import PushedRows

    views = load_definitions(folder)
    outcomes = _registry(data_dir).apply(views)
    for view in views:
        if isinstance(view.source, PushedRows):
            Path(view.source.folder).mkdir(parents=True, exist_ok=True)
    if as_json:
        print(
            json.dumps([{"view": view.name, "version": view.version, "outcome": of} for view, of in outcomes])
        )
        return
    for view, outcome in outcomes:
        print(f"{view.name}@{view.version}: {outcome}")


@features.command("list")
def list_views(data_dir: DataDir = _DATA_DIR, as_json: Json = False) -> None:
    """List every version of every view."""
    versions = _registry(data_dir).versions()
    if as_json:
        print(json.dumps([_plain(found) for found in versions]))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("view", "entity", "columns", "owner", "applied", "hash", box=None)
    for found in versions:
        entity, owner = found.meaning["entity"]["name"], found.stewardship["owner"]
        columns = ", ".join({**found.meaning["columns"], **found.meaning.get("aggregates", {})})
        name = f"{found.name}@{found.version}"
        table.add_row(name, entity, columns, owner, found.applied_at, found.content_hash[:12])
    Console().print(table)


@features.command()
def show(view: Reference, data_dir: DataDir = _DATA_DIR, as_json: Json = False) -> None:
    """Show all of a view's definition."""
    found = _find(data_dir, view)
    print(json.dumps(_plain(found), ensure_ascii=False, indent=None if as_json else 2))


@features.command()
def diff(old: Reference, new: Reference, data_dir: DataDir = _DATA_DIR, as_json: Json = False) -> None:
    """Show where two versions of a view, or two views, differ."""
    from falaj.features.identity import difference

    one, other = _find(data_dir, old), _find(data_dir, new)
    lines = difference(
        {**one.meaning, **one.stewardship},
        {**other.meaning, **other.stewardship},
    )
    print(json.dumps(lines, ensure_ascii=False) if as_json else "\n".join(lines) or "no difference")


@features.command()
def export(
    out: Annotated[Path, typer.Option(metavar="FILE", help="Parquet; its manifest goes beside it.")],
    spine: Annotated[
        str | None, typer.Option(metavar="FILE|SQL", help="Whom to ask about, and for what times.")
    ] = None,
    views: Annotated[
        str | None, typer.Option(metavar="A@1,B@3", help="By default the latest version of each.")
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Make again what this tells, instead.")
    ] = None,
    time: Annotated[str, typer.Option(metavar="COLUMN", help="The spine's column of times.")] = "spine_ts",
    as_of_known: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Use only what had arrived by then: 2026-01-31T08:00:00Z."),
    ] = None,
    transform: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE.py:NAME", help="Add what it computes of the features; repeatable."),
    ] = None,
    on_missing: Annotated[
        str, typer.Option(metavar="default|nan|reject", help="For transforms, as the model is bound.")
    ] = "default",
    memory: Memory = None,
    threads: Threads = None,
    engine: Annotated[
        Literal["duckdb", "spark"], typer.Option(help="What joins; Spark's output is a folder.")
    ] = "duckdb",
    data_dir: DataDir = _DATA_DIR,
    as_json: Json = False,
) -> None:
    """Write a spine with the features that were known at its times."""
    from falaj.features.identity import view_of
    from falaj.features.offline.export import export as make
    from falaj.features.offline.export import export_again
    from falaj.features.offline.resources import Resources
    from falaj.features.offline.spine import Spine

    resources = Resources(memory, threads)
    if manifest is not None:
        if spine is not None or views is not None or as_of_known is not None or transform is not None:
            raise DefinitionError("--manifest: tells the spine, the views, the time and transforms itself")
        if engine != "duckdb":
            raise DefinitionError("--manifest: makes the same bytes again, which only DuckDB can")
        with _progress("joining") as tell:
            made = export_again(manifest, out, resources=resources, tell=tell)
    elif spine is None or views is None:
        raise DefinitionError("expected --spine and --views, or --manifest")
    else:
        chosen = [view_of(_find(data_dir, name.strip()).meaning) for name in views.split(",")]
        known = None if as_of_known is None else _time(as_of_known, "--as-of-known")
        given = _transforms(transform or [], on_missing)
        if engine == "spark":
            made = _on_spark(Spine(spine, time), chosen, out, known, given, resources)
        else:
            with _progress("joining") as tell:
                made = make(
                    Spine(spine, time),
                    chosen,
                    out,
                    as_of_known=known,
                    transforms=given,
                    resources=resources,
                    tell=tell,
                )
    if as_json:
        print(json.dumps(asdict(made), ensure_ascii=False))
        return
    print(f"{made.out.path}: {made.rows} rows, {made.out.bytes} bytes, sha256 {made.out.sha256}")
    for each in made.views:
        name = f"{each.meaning['name']}@{each.meaning['version']}"
        counts = f"{each.present} present, {each.missing} missing, {each.expired} expired; {each.late} late"
        nulls = ", ".join(f"{column} {count}" for column, count in each.null.items() if count)
        bad = ", ".join(f"{count} {reason}" for reason, count in each.bad.items())
        print(f"{name}: {counts}" + (f"; null: {nulls}" if nulls else "") + (f"; bad: {bad}" if bad else ""))
    for computed in made.transforms:
        print(f"transform {computed.name}: {computed.identity}")


def _transforms(references: list[str], on_missing: str) -> "Transforms":
    from falaj.features.binding import as_on_missing
    from falaj.features.offline.transformed import Transforms
    from falaj.features.transform.load import load_transform

    return Transforms(tuple(map(load_transform, references)), as_on_missing(on_missing))


def _on_spark(
    spine: "Spine",
    views: "list[View]",
    out: Path,
    known: "datetime | None",
    transforms: "Transforms",
    resources: "Resources",
) -> "Manifest":
    import logging
    import os
    from importlib.util import find_spec

    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")  # the machine's name need not be known
    for module in ("pyspark", "sqlglot"):
        if find_spec(module) is None:
            raise DefinitionError(f"--engine spark: no package {module}: pip install 'falaj[spark]'")
    from falaj.features.offline import spark

    # What is wrong is told by the error; the logs would tell it in a hundred lines more.
    logging.getLogger("SQLQueryContextLogger").disabled = True
    with spark.local_session(resources) as session:
        session.sparkContext.setLogLevel("OFF")
        return spark.export(spine, views, out, as_of_known=known, transforms=transforms, session=session)


@features.command()
def materialize(
    views: Annotated[
        str | None, typer.Option(metavar="A@1,B", help="By default the latest version of each.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only what had arrived by then; by default, by now.")
    ] = None,
    store: Store = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Empty the views first.")] = False,
    memory: Memory = None,
    threads: Threads = None,
    data_dir: DataDir = _DATA_DIR,
    as_json: Json = False,
) -> None:
    """Bring the online store up to what the views' sources tell.

    Reads what was not read before. It can be ended at any time and run again. Bad rows are kept apart.
    """
    from falaj.features.identity import micros_of, view_of
    from falaj.features.offline.resources import Resources
    from falaj.features.online.materialize import materialize_views
    from falaj.features.online.store import open_store

    if views is None:
        latest = {found.name: found for found in _registry(data_dir).versions()}
        chosen = list(latest.values())
    else:
        chosen = [_find(data_dir, name.strip()) for name in views.split(",")]
    until_us = None if until is None else micros_of(_time(until, "--until"))
    data_dir.mkdir(parents=True, exist_ok=True)
    opened = open_store(store or f"lmdb://{data_dir / 'online'}")
    with _progress("materializing") as tell:
        done = materialize_views(
            [view_of(found.meaning, found.stewardship) for found in chosen],
            opened,
            data_dir,
            quarantine=_quarantine(data_dir, store),
            until_us=until_us,
            rebuild=rebuild,
            resources=Resources(memory, threads),
            tell=tell,
        )
    if as_json:
        print(json.dumps([asdict(each) for each in done]))
        return
    for each in done:
        bad = f", {each.bad} bad in {each.quarantined}" if each.bad else ""
        ended = ", went on where another run was ended" if each.resumed else ""
        stale = "" if each.stale is None else "; stale" if each.stale else "; fresh"
        name = f"{each.view}@{each.version}"
        print(f"{name}: {each.rows} rows, {each.entities} entities changed{bad}{ended}{stale}")
        for reason, count in each.reasons.items():
            print(f"  {count} {reason}")


@features.command()
def get(
    views: Annotated[
        list[str], typer.Argument(metavar="VIEW[@VERSION]...", help="By default the latest version of each.")
    ],
    key: Annotated[
        list[str] | None,
        typer.Option(metavar="ID=1", help="An entity, such as customer_id=1, or user=a,item=3; repeatable."),
    ] = None,
    keys: Annotated[
        str | None, typer.Option(metavar="FILE", help="CSV or Parquet with the entities' keys, instead.")
    ] = None,
    store: Store = None,
    data_dir: DataDir = _DATA_DIR,
    as_json: Json = False,
) -> None:
    """Show what the online store has for entities now.

    A row is present, missing or expired; a null in one that is present is a value that is not known.
    """
    from falaj.features.identity import view_of
    from falaj.features.online.keys import columns_of, keys_of_file, keys_written
    from falaj.features.online.lookup import get as look_up
    from falaj.features.online.lookup import told
    from falaj.features.online.store import open_store
    from falaj.features.view import keys_of

    chosen = [view_of(_find(data_dir, name).meaning) for name in dict.fromkeys(views)]
    datatypes = keys_of(chosen)
    if (keys is None) == (not key):
        raise DefinitionError("expected --key, once for each entity, or --keys and a file")
    asked = keys_written(key or [], datatypes) if keys is None else keys_of_file(keys, datatypes)
    found = look_up(open_store(store or f"lmdb://{data_dir / 'online'}"), chosen, asked)
    if as_json:
        print(json.dumps({"keys": asked, "views": told(found)}, ensure_ascii=False))
        return
    table = {name: [str(value) for value in values] for name, values in asked.items()}
    for each in found:
        view = str(each.view).removeprefix("view ")
        table[view] = each.status
        for name, values in each.values.items():
            shown = zip(each.status, values, strict=True)
            table[f"{view}.{name}"] = [
                "-" if status != "present" else "null" if value is None else str(value)
                for status, value in shown
            ]
    print(columns_of([list(table), *map(list, zip(*table.values(), strict=True))]))


@features.command()
def bind(
    version_folder: Annotated[Path, typer.Argument(metavar="MODEL/VERSION", help="Its folder.")],
    views: Annotated[str, typer.Option(metavar="A@1,B", help="Whose columns the model takes.")],
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="X=A__INCOME,AMOUNT:FP32",
            help="The columns of an input of the model: features, and values of requests with their "
            "datatypes. X alone: all columns of the views. By default inputs take the features they are "
            "named for.",
        ),
    ] = None,
    on_missing: Annotated[
        str, typer.Option(metavar="default|nan|reject", help="For entities that are missing or expired.")
    ] = "default",
    budget_ms: Annotated[
        float | None,
        typer.Option(
            metavar="MS", help="How long a batch waits for a shared store; by default as its URL says."
        ),
    ] = None,
    max_staleness_ms: Annotated[
        float,
        typer.Option(metavar="MS", help="What a shared store told serves so long when it does not answer."),
    ] = 0,
    data_dir: DataDir = _DATA_DIR,
) -> None:
    """Have a model look its features up: requests then bring its entities' keys.

    Written into the version's bundle.json, with the views' definitions.
    """
    from falaj.features.binding import BoundView, as_on_missing, bind_by_name, binding_from, write_binding
    from falaj.features.identity import view_of
    from falaj.features.model_inputs import inputs_of

    missing = as_on_missing(on_missing)
    bound = [
        BoundView(view_of(_find(data_dir, name.strip()).meaning), missing, budget_ms, max_staleness_ms)
        for name in views.split(",")
    ]
    binding = binding_from(bound, inputs) if inputs else bind_by_name(bound, inputs_of(version_folder))
    write_binding(version_folder, binding)
    for each in binding.inputs:
        print(f"{each.name}: {', '.join(str(column) for column in each.columns)}")


@features.command()
def audit(
    model: Annotated[str | None, typer.Option(metavar="M", help="By default all that are logged.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only what was looked up from then on.")
    ] = None,
    sample: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="So many rows at most; by default all.")
    ] = None,
    max_mismatch: Annotated[
        float | None,
        typer.Option(metavar="RATE", min=0, max=1, help="Exit status 1 where a column's rate is above."),
    ] = None,
    memory: Memory = None,
    threads: Threads = None,
    data_dir: DataDir = _DATA_DIR,
    as_json: Json = False,
) -> None:
    """Compare what models were served with and what training sets have for the same entities and times.

    Of the requests that a server logged by features.log_sample. The server shows the result as a metric.
    """
    from falaj.features.identity import micros_of
    from falaj.features.offline.resources import Resources
    from falaj.features.served.audit import audit as compare

    found = compare(
        data_dir / "features" / "log",
        _registry(data_dir),
        model=model,
        since_us=None if since is None else micros_of(_time(since, "--since")),
        sample=sample,
        resources=Resources(memory, threads),
    )
    found.write(data_dir / "features" / "audit.json")
    if as_json:
        print(json.dumps({**asdict(found), "max_mismatch": found.highest}))
    else:
        print(f"{found.rows} rows")
        for each in found.columns:
            causes = ", ".join(f"{cause} {count}" for cause, count in each.mismatches.items() if count)
            differ = f"{each.ratio:.4%} differ: {causes}" if causes else "none differs"
            print(f"{each.view} {each.column}: {each.compared} compared, {differ}")
    if max_mismatch is not None and found.highest > max_mismatch:
        raise typer.Exit(1)


@features.command("check")
def check_views(
    views: Annotated[
        str | None, typer.Option(metavar="A@1,B@3", help="By default the latest version of each.")
    ] = None,
    quarantine: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write the bad rows there, with their reasons.")
    ] = None,
    data_dir: DataDir = _DATA_DIR,
    as_json: Json = False,
) -> None:
    """Check the rows of views' sources. Exit code 1 where some are bad."""
    from falaj.features.check_report import check_source

    if views is None:
        names = sorted({found.name for found in _registry(data_dir).versions()})
    else:
        names = [name.strip() for name in views.split(",")]
    reports = [check_source(_find(data_dir, name), quarantine) for name in names]
    if as_json:
        print(json.dumps([asdict(report) for report in reports], ensure_ascii=False))
    else:
        for report in reports:
            print("\n".join(report.lines()))
    if any(report.bad for report in reports):
        raise typer.Exit(1)


@features.command()
def lineage(
    view: Annotated[
        str | None, typer.Argument(metavar="[VIEW[@VERSION]]", help="By default the latest version of each.")
    ] = None,
    repository: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Whose models are asked what they take.")
    ] = None,
    data_dir: DataDir = _DATA_DIR,
    as_json: Json = False,
) -> None:
    """Show what views are made from, and what is made from them."""
    from falaj.features.lineage import lineage_of
    from falaj.features.model_inputs import models_in

    versions = _registry(data_dir).versions()
    latest = {each.name: each for each in versions}
    chosen = list(latest.values()) if view is None else [_find(data_dir, view)]
    models = None if repository is None else models_in(repository)
    told = [lineage_of(each, versions, models) for each in chosen]
    if as_json:
        print(json.dumps([asdict(each) for each in told], ensure_ascii=False))
        return
    for each in told:
        print("\n".join(each.lines()))


@contextmanager
def _progress(what: str) -> Iterator[Callable[[float], None] | None]:
    """A bar on standard error while the context lasts; none where that is no terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task(what, total=1.0)
        yield lambda share: bar.update(task, completed=share)


def _time(text: str, option: str) -> "datetime":
    from datetime import datetime

    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise DefinitionError(f"{option}: {error}") from error


def _quarantine(data_dir: Path, store: str | None) -> Path:
    """Of a store alone: which rows are kept there is counted by its runs."""
    from hashlib import sha256

    of = "" if store is None else f"-{sha256(store.encode()).hexdigest()[:8]}"
    return data_dir / f"quarantine{of}"


def _registry(data_dir: Path) -> "Registry":
    from falaj.features.registry import Registry

    return Registry(data_dir / "features.db")


def _find(data_dir: Path, reference: str) -> "Registered":
    return _registry(data_dir).named(reference)


def _plain(found: "Registered") -> dict[str, Any]:
    plain = asdict(found)
    del plain["meaning"], plain["stewardship"]
    return {**plain, **found.meaning, **found.stewardship}

"""The commands `falaj features`. What a command needs is imported when it runs."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from falaj.features.errors import DefinitionError

if TYPE_CHECKING:
    from falaj.features.registry import Registered, Registry

features = typer.Typer(no_args_is_help=True)

DataDir = Annotated[Path, typer.Option(metavar="FOLDER", help="Folder of what Falaj keeps.")]
Json = Annotated[bool, typer.Option("--json", help="For programs.")]
Reference = Annotated[str, typer.Argument(metavar="VIEW[@VERSION]", help="By default its latest version.")]
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

    outcomes = _registry(data_dir).apply(load_definitions(folder))
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
        columns = ", ".join(found.meaning["columns"])
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


def _registry(data_dir: Path) -> "Registry":
    from falaj.features.registry import Registry

    return Registry(data_dir / "features.db")


def _find(data_dir: Path, reference: str) -> "Registered":
    name, at, version = reference.partition("@")
    if at and not version.isdecimal():
        raise DefinitionError(f"expected VIEW or VIEW@VERSION, got {reference!r}")
    return _registry(data_dir).find(name, int(version) if at else None)


def _plain(found: "Registered") -> dict[str, Any]:
    plain = asdict(found)
    del plain["meaning"], plain["stewardship"]
    return {**plain, **found.meaning, **found.stewardship}

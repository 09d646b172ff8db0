"""The command `falaj`.

What a command needs is imported when it runs, so that none waits for another's libraries.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from falaj._core import Error
from falaj.features.cli import features
from falaj.server.bench.cli import bench
from falaj.server.ops.log_lines import printable
from falaj.server.serve_flags import given_flags, with_serve_flags
from falaj.server.tuning.cli import tune
from falaj.training.demo.cli import demo
from falaj.training.export.cli import export
from falaj.training.fit.cli import train
from falaj.training.optimize.cli import optimize

if TYPE_CHECKING:
    from falaj.server.repository_client import RepositoryClient

_DEFAULT_URL = "http://127.0.0.1:8000"
# The base of what Typer raises for a command line that it cannot use; it has no public name of its own.
_UsageError: Any = typer.BadParameter.__base__

app = typer.Typer(name="falaj", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
models = typer.Typer(invoke_without_command=True)
app.add_typer(models, name="models")
app.add_typer(features, name="features")
app.command()(train)
app.command()(export)
app.command()(optimize)
app.command()(demo)
app.command()(tune)
app.command()(bench)

Url = Annotated[str, typer.Option(metavar="URL", help="Of the running server.")]
OwnUrl = Annotated[str | None, typer.Option(metavar="URL", help="Of the running server.")]
CaFile = Annotated[str | None, typer.Option(metavar="FILE", help="PEM file of the authorities for https.")]
Json = Annotated[bool, typer.Option("--json", help="For programs.")]
Name = Annotated[str, typer.Argument(metavar="MODEL")]


def main() -> None:
    """Run a command and exit: 0 on success, 2 where the command line or the configuration is wrong, else 1.

    An error is one line on standard error.
    """
    try:
        code = app(standalone_mode=False) or 0
        sys.stdout.flush()
    except _UsageError as error:
        code = _complain(error.format_message(), 2)
    except Error as error:
        code = _complain(str(error), 2 if isinstance(error, ValueError) else 1)
    except (typer.Abort, KeyboardInterrupt):
        code = 130  # as shells tell SIGINT
    except BrokenPipeError:
        # The reader left, as `| head` does; Python's own flush at the exit would complain of it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)


def _complain(message: str, code: int) -> int:
    if message:  # empty where help was shown instead
        sys.stderr.write(f"falaj: {printable(message)}\n")
    return code


@app.callback()
def falaj() -> None:
    """Falaj, a model server whose batching core is native."""


@app.command()
@with_serve_flags
def serve(options: Mapping[str, Any]) -> int:
    """Serve the models of a folder until told to end.

    Every setting can also be given as a variable FALAJ_SECTION_KEY or in the file of settings, see
    docs/configuration.md. When ready, one line of JSON on standard output says on which ports.
    """
    from falaj.server.ops.settings import load_settings

    config = None if options["config"] is None else Path(options["config"])
    flags = given_flags(options)
    settings = load_settings(config, flags=flags)

    from falaj.server.ops.serve import serve as run

    return run(settings, lambda: load_settings(config, flags=flags))


@app.command()
def version(as_json: Json = False) -> None:
    """Say which versions of Falaj, Python and ONNX Runtime these are."""
    from falaj.server.versions import versions

    found = versions()
    if as_json:
        print(json.dumps(found))
    else:
        print("falaj {falaj} (Python {python}, ONNX Runtime {onnxruntime})".format(**found))


@models.callback()
def models_group(
    context: typer.Context, url: Url = _DEFAULT_URL, ca_file: CaFile = None, as_json: Json = False
) -> None:
    """Show and change the models of a running server; without a command, list them."""
    context.obj = _Asked(url, ca_file, as_json)
    if context.invoked_subcommand is None:
        _show(_index(context.obj), as_json)


@models.command("list")
def list_models(
    context: typer.Context,
    target: Annotated[str | None, typer.Argument(metavar="[URL|FOLDER]")] = None,
    as_json: Json = False,
) -> None:
    """List the models of a running server, or those that one would load from a folder."""
    asked = context.obj if target is None else replace(context.obj, target=target)
    _show(_index(asked), as_json or asked.as_json)


@models.command()
def load(context: typer.Context, model: Name, url: OwnUrl = None, as_json: Json = False) -> None:
    """Load a model, anew where it is loaded already; no request fails."""
    _change(context.obj, url, as_json, model, lambda client: client.load(model))


@models.command()
def reload(context: typer.Context, model: Name, url: OwnUrl = None, as_json: Json = False) -> None:
    """Load a model anew, which has to be loaded already; no request fails."""
    _change(context.obj, url, as_json, model, lambda client: client.reload(model))


@models.command()
def unload(context: typer.Context, model: Name, url: OwnUrl = None, as_json: Json = False) -> None:
    """Take a model out of service; what it has accepted is answered."""
    _change(context.obj, url, as_json, model, lambda client: client.unload(model))


@dataclass(frozen=True)
class _Asked:
    """Options of `falaj models` that its commands share."""

    target: str
    ca_file: str | None
    as_json: bool


def _index(asked: _Asked) -> list[dict[str, Any]]:
    if "://" in asked.target:
        return _client(asked).index()
    from falaj.server.folder_index import folder_index

    return folder_index(Path(asked.target))


def _change(
    asked: _Asked, url: str | None, as_json: bool, model: str, change: Callable[["RepositoryClient"], None]
) -> None:
    client = _client(asked if url is None else replace(asked, target=url))
    change(client)
    _show([row for row in client.index() if row.get("name") == model], as_json or asked.as_json)


def _client(asked: _Asked) -> "RepositoryClient":
    from falaj.server.repository_client import RepositoryClient

    return RepositoryClient(asked.target, ca_file=asked.ca_file)


def _show(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows))
        return
    from falaj.server.models_table import print_models

    print_models(rows)

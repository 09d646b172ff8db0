"""The table of `falaj models`."""

import sys
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from falaj.server.ops.log_lines import printable

_COLUMNS = ("name", "version", "state", "reason")
_STYLES = {"READY": "green", "AVAILABLE": "green", "LOADING": "yellow", "UNLOADING": "yellow"}
# Wide enough that what is piped into a program is never folded.
_PIPE_WIDTH = 10_000


def print_models(rows: list[dict[str, Any]]) -> None:
    """Print the rows of a repository index on standard output: in colour on a terminal, plain elsewhere."""
    terminal = sys.stdout.isatty()
    console = Console(file=sys.stdout, width=None if terminal else _PIPE_WIDTH, highlight=False)
    table = Table(*_COLUMNS, box=None, pad_edge=False, header_style="bold" if terminal else "")
    for row in rows:
        # A server's words are text, whatever they look like to a terminal or to Rich.
        cells = [printable("" if row.get(key) is None else str(row[key])) for key in _COLUMNS]
        style = _STYLES.get(cells[2], "red")
        table.add_row(*(Text(cell, style=style if i == 2 else "") for i, cell in enumerate(cells)))
    console.print(table)

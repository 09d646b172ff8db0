"""The replay as it goes: how many are asked, how fast, and how well the answers tell."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from falaj.training.demo.replay import Replayed, Transport

_EVERY_SECONDS = {True: 0.25, False: 10.0}  # on a terminal, and elsewhere


@contextmanager
def shown(
    total: int, transports: Sequence[Transport], say: Callable[[str], None]
) -> Iterator[Callable[[Replayed], None]]:
    """Show a replay while the context lasts: as a table on a terminal, else as lines now and then."""
    from rich.console import Console
    from rich.live import Live

    console = Console()
    begin = last = time.perf_counter()
    if not console.is_terminal:

        def line(done: Replayed) -> None:
            nonlocal last
            now = time.perf_counter()
            if now - last >= _EVERY_SECONDS[False]:
                last = now
                say("  " + ", ".join(f"{name} {value}" for name, value in _told(done, total, now - begin)))

        yield line
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:

        def table(done: Replayed) -> None:
            nonlocal last
            now = time.perf_counter()
            if now - last >= _EVERY_SECONDS[True]:
                last = now
                live.update(_table(done, total, now - begin, transports), refresh=True)

        yield table


def _told(done: Replayed, total: int, seconds: float) -> list[tuple[str, str]]:
    asked = int((done.late >= 0).sum())
    at = datetime.fromtimestamp(done.at_us / 1e6, UTC)
    return [
        ("now", f"{at:%d %B %H:%M} UTC"),
        ("asked", f"{asked:,} of {total:,}"),
        ("pushed", f"{done.pushed:,} rows"),
        ("rate", f"{asked / seconds:,.0f} flights/s"),
        ("AUC", _area(done)),
    ]


def _table(done: Replayed, total: int, seconds: float, transports: Sequence[Transport]) -> Any:
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for name, value in _told(done, total, seconds):
        table.add_row(name, value)
    for each in transports:
        table.add_row(each.name, latencies(each))
    return table


def latencies(transport: Transport) -> str:
    """Return how long a transport's requests took, and how many there were."""
    of = transport.latencies
    return f"{len(of.seconds):,} requests, p50 {of.percentile(50):.2f} ms, p99 {of.percentile(99):.2f} ms"


def _area(done: Replayed) -> str:
    """The area under the ROC curve of what is known so far."""
    from sklearn.metrics import roc_auc_score

    known = done.late >= 0
    late = done.late[known]
    if late.size == 0 or late.min() == late.max():
        return "-"
    return f"{roc_auc_score(late, done.scores[known]):.3f}"

"""Logs of pushed rows as an export reads them: the first so many rows, whatever comes meanwhile."""

from collections.abc import Sequence
from pathlib import Path

from falaj.features.offline.staging import Staged
from falaj.features.source import PushedRows
from falaj.features.view import View


def pushed_rows(views: Sequence[View], told: Sequence[Staged | None] | None = None) -> list[int | None]:
    """Return how many rows are to be read of each view's log; None where its source is another.

    Args:
        told: What an earlier export read of each; None: all that are there now.

    Raises:
        DataError: A log cannot be read.
    """
    if not any(isinstance(view.source, PushedRows) for view in views):
        return [None] * len(views)
    from falaj.features.pushed_log import rows_now

    return [
        rows_now(view) if then is None or not isinstance(view.source, PushedRows) else then.rows
        for view, then in zip(views, told or [None] * len(views), strict=True)
    ]


def pinned_logs(
    views: Sequence[View], rows: Sequence[int | None], folder: Path
) -> tuple[tuple[View, ...], list[Staged | None]]:
    """Return the views with these rows of their logs, which stay as they are, and what the rows are.

    Args:
        folder: Where their files are put.

    Raises:
        DataError: A log cannot be read, or has fewer rows.
    """
    if all(most is None for most in rows):
        return tuple(views), [None] * len(views)
    from falaj.features.pushed_log import pinned, staged

    made = tuple(
        pinned(view, folder / f"pushed-{i}", most)
        for i, (view, most) in enumerate(zip(views, rows, strict=True))
    )
    return made, [staged(view) for view in made]

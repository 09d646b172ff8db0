"""Opens online stores, and views in them, by their definitions."""

from dataclasses import asdict

from falaj._core import OnlineStore, OnlineView
from falaj.features.errors import DefinitionError
from falaj.features.identity import content_hash, meaning, micros
from falaj.features.view import View

MISSING, EXPIRED, PRESENT = 0, 1, 2  # statuses that a read tells
MAP_BYTES = 1 << 40  # of addresses; the file grows as it is filled
_LMDB = "lmdb://"
_REDIS = ("redis://", "rediss://")


def open_store(url: str, map_bytes: int = MAP_BYTES) -> OnlineStore:
    """Open the store at a URL.

    Args:
        url: `lmdb://` and a folder, which is made where its parent is there; or that of a Redis or Valkey
            server, see `redis_url`.
        map_bytes: What an LMDB store may grow to. The same for all who have it open in one process.

    Raises:
        DefinitionError: No store is known by such a URL.
        Unavailable, DeadlineExceeded: The server cannot be reached.
    """
    if url.startswith(_REDIS):
        from falaj.features.online.redis_url import redis_url

        return OnlineStore.redis(**asdict(redis_url(url)))
    if not url.startswith(_LMDB) or url == _LMDB:
        raise DefinitionError(
            f"online store: expected lmdb:// and a folder, or redis:// and a host, got {url!r}"
        )
    return OnlineStore(url.removeprefix(_LMDB), map_bytes)


def open_view(store: OnlineStore, view: View) -> OnlineView:
    """Open a view in a store, and make it where it is not there.

    Raises:
        InvalidInput: The store has it by another definition.
    """
    return store.open_view(
        view.name,
        view.version,
        content_hash(meaning(view)),
        list(view.entity.keys.items()),
        [(column.name, column.datatype) for column in view.features],
        micros(view.source_delay),
        None if view.ttl is None else micros(view.ttl),
        _windowed(view) if view.aggregates else None,
    )


def _windowed(view: View) -> tuple[list[tuple[str, str]], bool, list[tuple[int, int, int, int]]]:
    inputs = [column.name for column in view.inputs]
    return (
        [(column.name, column.datatype) for column in view.written],
        view.event_id is not None,
        [each.plain(inputs) for each in view.aggregates],
    )

"""All that an LMDB store holds, byte for byte."""

import json
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import lmdb

_DATABASES = 512
Entry = tuple[bytes, bytes, bytes]  # database, key, value


def entries(folder: Path) -> Iterator[Entry]:
    """Yield every key and value of every database of a store that nobody writes to, in order."""
    with lmdb.open(str(folder), readonly=True, lock=False, max_dbs=_DATABASES) as env, env.begin() as txn:
        for name in txn.cursor().iternext(values=False):
            for key, value in txn.cursor(env.open_db(name, txn, create=False)):
                yield name, key, value


def difference(one: Path, other: Path) -> str | None:
    """Return in what two stores differ first; None where they are the same.

    How many runs it took may differ: one that is killed when all of it is in is followed by one with nothing
    to do.
    """
    for left, right in zip_longest(entries(one), entries(other)):
        if left != right and (left is None or right is None or _but_runs(left) != _but_runs(right)):
            return f"{left} in {one}, {right} in {other}"
    return None


def _but_runs(entry: Entry) -> object:
    database, key, value = entry
    if database != b"meta" or not key.startswith(b"cursor:"):
        return entry
    told = json.loads(value)
    del told["read"]["runs"]
    return key, told


def cursor(folder: Path, view: str) -> dict[str, Any] | None:
    """Return how far `view@version` was read, as features/online/cursor.py writes it; None: not at all."""
    data = folder / "data.mdb"
    if not data.exists() or not data.stat().st_size:
        return None
    with lmdb.open(str(folder), readonly=True, lock=False, max_dbs=_DATABASES) as env, env.begin() as txn:
        if txn.get(b"meta") is None:
            return None
        told = txn.get(f"cursor:{view}".encode(), db=env.open_db(b"meta", txn, create=False))
        return None if told is None else dict(json.loads(told))

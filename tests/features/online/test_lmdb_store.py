"""What only the LMDB store does."""

from pathlib import Path

import numpy as np
import pytest

from falaj import InvalidInput, NotFound, Unavailable
from falaj._core import OnlineStore
from falaj.features import DefinitionError
from falaj.features.online.store import open_store
from tests.features.online.store_engine import MAP_BYTES, texts, times


def test_write_leaves_the_store_as_it_was_when_the_map_is_full(tmp_path: Path) -> None:
    store = open_store(f"lmdb://{tmp_path}", 1 << 20)
    view = store.open_view("big", 1, "h", [("k", "INT64")], [("v", "BYTES")], 0, None)
    view.write([np.array([1])], *times(1), [texts("small")], [None], 0, b"1")
    with pytest.raises(Unavailable, match="is full: open it with map_bytes above 1048576"):
        view.write([np.array([1])], *times(1), [texts("x" * (2 << 20))], [None], 0, b"2")
    assert view.cursor() == b"1"
    assert view.read([np.array([1])], 0)[1][0].tolist() == ["small"]


def test_store_is_refused_with_a_reason_when_it_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(
        DefinitionError, match="expected lmdb:// and a folder, or redis:// and a host, got 'http://x'"
    ):
        open_store("http://x")
    with pytest.raises(NotFound, match="cannot be made: No such file"):
        OnlineStore(str(tmp_path / "no" / "such"), MAP_BYTES)
    kept = OnlineStore(str(tmp_path / "s"), MAP_BYTES)
    with pytest.raises(InvalidInput, match="is open with map_bytes"):
        OnlineStore(str(tmp_path / "s"), 2 * MAP_BYTES)
    assert kept.views() == []

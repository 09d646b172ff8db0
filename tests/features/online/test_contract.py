"""What every online store does: keys, types, errors, several processes, a writer that is killed."""

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from falaj import InvalidInput, NotFound
from falaj._core import OnlineView
from tests.features.online.store_engine import fresh_view, opened, read, texts, times, view_in, write
from tests.features.oracle import Row, Rules

_NUMPY = {
    "BOOL": np.bool_,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "FP32": np.float32,
    "FP64": np.float64,
}


def _text_view(url: str) -> OnlineView:
    keys, columns = [("user", "BYTES"), ("item", "BYTES")], [("v", "BYTES")]
    return opened(url).open_view("pairs", 1, "h", keys, columns, 0, None)


def test_values_of_every_datatype_come_back_as_they_were(empty_url: str) -> None:
    columns = [(name.lower(), name) for name in [*_NUMPY, "BYTES"]]
    store = opened(empty_url)
    view = store.open_view("all", 1, "h", [("k", "INT32")], columns, 0, None)
    values = [np.array([1, 0, 1], dtype) for dtype in _NUMPY.values()] + [texts("a", "", "دبي")]
    nulls = np.array([False, False, True])
    keys = [np.array([-1, 0, 1], np.int32)]
    assert view.write(keys, *times(3), values, [nulls] * len(values), 0, None) == 3
    status, found, missing = view.read([np.array([1, 7, -1, 0], np.int32)], 0)
    assert status.tolist() == [2, 0, 2, 2]
    for i, (_, datatype) in enumerate(columns):
        assert missing[i].tolist() == [True, True, False, False]
        assert found[i][2:].tolist() == values[i][:2].tolist()
        assert found[i].dtype == _NUMPY.get(datatype, np.object_)
    assert found[-1].tolist() == [None, None, "a", ""]


def test_composite_texts_are_told_apart_when_they_would_join_to_the_same(empty_url: str) -> None:
    view = _text_view(empty_url)
    view.write([texts("a", "ab"), texts("bc", "c")], *times(2), [texts("1", "2")], [None], 0, None)
    _, (found,), _ = view.read([texts("ab", "a", "a"), texts("c", "bc", "b")], 0)
    assert found.tolist() == ["2", "1", None]


def test_long_key_is_an_error_when_written_and_missing_when_read(empty_url: str) -> None:
    view = _text_view(empty_url)
    fits, long = "x" * 506, "x" * 507  # with a length each, and a letter of the other key
    assert view.write([texts(fits), texts("y")], *times(1), [texts("1")], [None], 0, None) == 1
    with pytest.raises(InvalidInput, match="row 0: its key takes more than the 511 bytes"):
        view.write([texts(long), texts("y")], *times(1), [texts("1")], [None], 0, None)
    assert view.read([texts(fits, long), texts("y", "y")], 0)[0].tolist() == [2, 0]


def test_cursor_is_kept_with_the_rows_and_left_when_none_is_given(empty_url: str) -> None:
    view = fresh_view(empty_url, Rules())
    assert view.cursor() is None
    write(view, [Row(1, 1, 1, 1.0)], 1, b"one\x00")
    write(view, [Row(2, 1, 1, 1.0)], 1)
    assert view.cursor() == b"one\x00"
    assert view.entities() == 2


def test_same_version_of_another_definition_is_refused(empty_url: str) -> None:
    fresh_view(empty_url, Rules(ttl=1))
    store = opened(empty_url)
    with pytest.raises(InvalidInput, match=r"profile@1: is stored with 'definition \w+', got 'definition x'"):
        store.open_view("profile", 1, "x", [("customer_id", "INT64")], [("value", "FP64")], 0, 1)


def test_dropped_view_has_nothing_and_takes_nothing(empty_url: str) -> None:
    view = fresh_view(empty_url, Rules())
    write(view, [Row(1, 1, 1, 1.0)], 1)
    store = opened(empty_url)
    store.drop_view("profile", 1)
    assert store.views() == []
    assert read(view, [1], 1) == [("missing", None)]
    with pytest.raises(NotFound, match="profile@1: was dropped"):
        write(view, [Row(1, 1, 1, 1.0)], 1)
    with pytest.raises(NotFound, match="profile@1 is not in the store"):
        store.drop_view("profile", 1)


def test_columns_of_other_types_and_lengths_are_refused(empty_url: str) -> None:
    view = fresh_view(empty_url, Rules())
    with pytest.raises(InvalidInput, match="key 'customer_id': expected INT64, got INT32"):
        view.read([np.array([1], np.int32)], 0)
    with pytest.raises(InvalidInput, match="column 'value': expected one dimension of 1 rows"):
        view.write([np.array([1])], *times(1), [np.zeros(2)], [None], 0, None)
    with pytest.raises(InvalidInput, match="expected 1 keys, got 2"):
        view.read([np.array([1]), np.array([1])], 0)


_WRITER = """
    import sys
    from tests.features.online.store_engine import fresh_view, write
    from tests.features.oracle import Row, Rules

    view = fresh_view(sys.argv[1], Rules())
    for turn in range(1, 1_000_000):
        write(view, [Row(key, turn, turn, float(turn)) for key in range(100)], turn, str(turn).encode())
        print(turn, flush=True)
"""


def test_each_write_is_whole_when_its_process_is_killed_and_another_reads(empty_url: str) -> None:
    root = Path(__file__).parents[3]
    for _ in range(3):
        command = [sys.executable, "-c", textwrap.dedent(_WRITER), empty_url]
        with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "1\n"
            view = view_in(empty_url, Rules())
            said = 1
            while said < 20:
                said = int(writer.stdout.readline())
                answers = read(view, range(100), 1 << 40)
                assert len(set(answers)) == 1  # never half of a write
                value = answers[0][1]
                assert value is not None
                assert value >= said
            writer.send_signal(signal.SIGKILL)
            said = int(([str(said), *writer.stdout.read().split()])[-1])
        cursor = view.cursor()
        assert cursor is not None
        assert int(cursor) >= said  # what was said to be written is there
        assert read(view, range(100), 1 << 40) == [("present", float(cursor))] * 100
        assert write(view, [Row(1, 1 << 30, 1 << 30, 0.5)], 1 << 30) == 1  # and the next one can write

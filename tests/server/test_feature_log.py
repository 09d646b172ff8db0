"""The log of what models were served with: by a real server, as files."""

import os
import resource
import signal
import time
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

import falaj
from falaj import _core
from falaj.server.feature_log import FeatureLog
from falaj.server.online_features import OnlineFeatures
from tests.server.joined_model import account, add_joined, fill
from tests.server.serving_process import Serving, until


def _tensor(name: str, datatype: str, *data: float) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [len(data), 1], "data": [*data]}


def _rows(folder: Path, columns: str) -> list[tuple[Any, ...]]:
    files = f"{folder}/score/*.parquet"
    return duckdb.execute(f"SELECT {columns} FROM read_parquet('{files}') ORDER BY __at, __row").fetchall()


def _prepare(folder: Path) -> str:
    fill(folder / "online", account(), time.time_ns() // 1000)
    add_joined(folder / "models", account())
    return f"lmdb://{folder / 'online'}"


def _asked(*ids: int) -> dict[str, Any]:
    keys = np.array(ids, np.int64).reshape(-1, 1)
    return {"customer_id": keys, "amount": np.zeros((len(ids), 1), np.float32)}


def test_server_writes_what_it_looked_up_when_it_ends(tmp_path: Path) -> None:
    url = _prepare(tmp_path)
    begin = time.time_ns() // 1000
    sample = ("--set=features.log_sample=1", f"--set=features.store={url}")
    with Serving(tmp_path, *sample, "--data-dir", str(tmp_path / "data")) as server:
        inputs = [_tensor("customer_id", "INT64", 1, 2, 3, 4), _tensor("amount", "FP32", 0, 0, 0, 0)]
        brought = [_tensor("customer_id", "INT64", 5), _tensor("amount", "FP32", 0)]
        brought.append(_tensor("account__visits", "INT64", 99))
        for name, asked in (("first", inputs), ("second", brought)):
            status, _, told = server.ask("POST", "/v2/models/score/infer", {"id": name, "inputs": asked})
            assert status == 200, told
        end = time.time_ns() // 1000
        page = server.ask("GET", "/metrics", listener="metrics")[2].decode()
        assert 'falaj_feature_log_dropped_rows_total{model="score",version="1"} 0.0' in page
        assert 'falaj_feature_log_rows_total{model="score",version="1"}' in page
        server.send(signal.SIGTERM)
        assert server.wait() == 0, server.output()
    log = tmp_path / "data" / "features" / "log"
    told = "__request, __row, customer_id, account__status, account__income, account__visits, "
    told += "__brought__account__income, __brought__account__visits, __stale"
    assert _rows(log, told) == [
        ("first", 0, 1, "present", 10.0, 1, False, False, False),
        ("first", 1, 2, "present", None, 2, False, False, False),
        ("first", 2, 3, "missing", None, None, False, False, False),
        ("first", 3, 4, "expired", None, None, False, False, False),
        ("second", 0, 5, "present", 50.5, 99, False, True, False),
    ]
    times = [row[0] for row in _rows(log, "epoch_us(__at)")]
    assert begin <= min(times) <= max(times) <= end
    assert [path.suffix for path in (log / "score").iterdir()] == [".parquet"]


def test_server_writes_nothing_when_nothing_is_sampled(tmp_path: Path) -> None:
    url = _prepare(tmp_path)
    data = ("--data-dir", str(tmp_path / "data"))
    with Serving(tmp_path, f"--set=features.store={url}", *data) as server:
        inputs = [_tensor("customer_id", "INT64", 1), _tensor("amount", "FP32", 0)]
        assert server.ask("POST", "/v2/models/score/infer", {"inputs": inputs})[0] == 200
        server.send(signal.SIGTERM)
        assert server.wait() == 0
    assert not (tmp_path / "data" / "features").exists()


def test_share_of_requests_is_logged_whole_when_sampled(tmp_path: Path) -> None:
    url = _prepare(tmp_path)
    log = FeatureLog(tmp_path / "log", 0.5, 1 << 20)
    with falaj.Engine(tmp_path / "models", cores=1, features=OnlineFeatures(url, log)) as engine:
        engine.infer_many("score", [_asked(1, 2)] * 400)
    log.close()
    written, dropped = log.counts()["score", 1]
    assert dropped == 0
    assert 300 < written < 500  # ten standard deviations
    assert _rows(tmp_path / "log", "__row").count((0,)) * 2 == written


def test_rows_are_dropped_and_counted_when_the_buffer_is_full(tmp_path: Path) -> None:
    url = _prepare(tmp_path)
    log = FeatureLog(tmp_path / "log", 1.0, 500)
    with falaj.Engine(tmp_path / "models", cores=1, features=OnlineFeatures(url, log)) as engine:
        engine.infer("score", _asked(*range(60)))
        engine.infer("score", _asked(1))
    log.close()
    assert log.counts()["score", 1] == (1, 60)


def test_log_goes_on_when_a_model_is_reloaded(tmp_path: Path) -> None:
    url = _prepare(tmp_path)
    log = FeatureLog(tmp_path / "log", 1.0, 1 << 20)
    with falaj.Engine(tmp_path / "models", cores=1, features=OnlineFeatures(url, log)) as engine:
        engine.infer("score", _asked(1))
        engine.reload("score")
        engine.infer("score", _asked(2))
        until(lambda: log.counts()["score", 1] == (1, 0), "what the unloaded version had is written")
    log.close()
    assert log.counts()["score", 1] == (2, 0)
    assert _rows(tmp_path / "log", "customer_id") == [(1,), (2,)]


def test_rows_are_counted_as_dropped_when_they_cannot_be_written(tmp_path: Path) -> None:
    url = _prepare(tmp_path)
    (tmp_path / "log").write_text("no folder")
    log = FeatureLog(tmp_path / "log", 1.0, 1 << 20)
    with falaj.Engine(tmp_path / "models", cores=1, features=OnlineFeatures(url, log)) as engine:
        engine.infer("score", _asked(1, 2))
    log.close()
    assert log.counts()["score", 1] == (0, 2)


def _counted(server: Serving, name: str, labels: str = "") -> float:
    page = server.ask("GET", "/metrics", listener="metrics")[2].decode()
    return float(page.partition(f"\n{name}{labels} ")[2].partition("\n")[0] or "nan")


def test_serving_goes_on_and_rows_are_counted_when_the_disk_is_full(tmp_path: Path) -> None:
    """As such writes fail where a file may not grow: it is the server's own limit, not a mock."""
    url, labels = _prepare(tmp_path), '{model="score",version="1"}'
    sample = ("--set=features.log_sample=1", f"--set=features.store={url}")
    inputs = [_tensor("customer_id", "INT64", 1, 2), _tensor("amount", "FP32", 0, 0)]
    with Serving(tmp_path, *sample, "--data-dir", str(tmp_path / "data")) as server:

        def ask_and_flush() -> None:
            assert server.ask("POST", "/v2/models/score/infer", {"inputs": inputs})[0] == 200
            assert server.ask("POST", "/v2/repository/models/score/load", {})[0] == 200

        _, most = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
        for times in (1, 2):
            resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (0, most))
            ask_and_flush()
            dropped, written = "falaj_feature_log_dropped_rows_total", "falaj_feature_log_rows_total"
            until(lambda: _counted(server, dropped, labels) == 2 * times, "the rows are counted")  # noqa: B023
            assert server.is_ready()
            resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (most, most))
            ask_and_flush()
            until(lambda: _counted(server, written, labels) == 2 * times, "the rows are written")  # noqa: B023
        assert _counted(server, "falaj_feature_log_bytes") > 0
    files = list((tmp_path / "data" / "features" / "log" / "score").iterdir())
    assert [path.suffix for path in files] == [".parquet"] * 2


@pytest.mark.parametrize("setting", ["log_max_bytes=1048576", "log_max_days=1"])
def test_oldest_files_are_removed_when_the_log_is_beyond_its_bound(tmp_path: Path, setting: str) -> None:
    url, log = _prepare(tmp_path), tmp_path / "data" / "features" / "log"
    for days, name in ((3, "score/1-a.parquet"), (2, "other/1-b.parquet"), (0, "other/1-c.parquet")):
        path = log / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 600_000)
        os.utime(path, (time.time() - days * 86_400,) * 2)
    settings = ("features.log_sample=1", f"features.store={url}", f"features.{setting}")
    flags = [f"--set={each}" for each in settings]
    with Serving(tmp_path, *flags, "--data-dir", str(tmp_path / "data")) as server:
        name = "falaj_feature_log_removed_files_total"
        until(lambda: _counted(server, name) == 2, "they are removed")
        assert _counted(server, "falaj_feature_log_bytes") == 600_000
        server.until_said("old files of the log of served features were removed")
    assert [path.name for path in log.glob("*/*.parquet")] == ["1-c.parquet"]


def test_buffer_is_refused_when_it_has_no_room() -> None:
    with pytest.raises(_core.InvalidInput, match="capacity: expected above 0, got 0"):
        _core.ServedLog(0, 1)

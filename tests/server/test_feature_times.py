"""How far views were materialized, as a real server tells it. DuckDB runs here: not for sanitizers."""

import time
from dataclasses import replace
from pathlib import Path

import duckdb

from falaj.features import CsvFiles
from falaj.features.online.materialize import materialize
from falaj.features.online.store import open_store, open_view
from falaj.features.registry import Registry
from tests.features.online.redis_server import redis_server
from tests.server.joined_model import account, fill
from tests.server.serving_process import Serving, until
from tests.server.test_feature_requests import ask, metrics


def test_times_are_told_when_a_view_of_a_folder_was_materialized(tmp_path: Path) -> None:
    _times_are_told(f"lmdb://{tmp_path / 'online'}", tmp_path)


def test_times_are_told_when_a_view_of_redis_was_materialized(tmp_path: Path) -> None:
    with redis_server() as server:
        _times_are_told(server.url, tmp_path)


def _times_are_told(url: str, folder: Path) -> None:
    (folder / "models").mkdir()
    Registry(folder / "data" / "features.db").apply([account()])
    fill(url, account(), time.time_ns() // 1000)
    arguments = ("--data-dir", str(folder / "data"), "--set", f"features.store={url}")
    with Serving(folder, *arguments) as serving:
        asked = {"views": ["account@1"], "keys": {"customer_id": [1]}}
        assert ask(serving, "/v1/features/get", asked)[0] == 200  # which opens the view
        assert metrics(serving, "falaj_feature_newest") == {}  # rows of pushes are of no source
        source = folder / "accounts.csv"
        source.write_text("customer_id,at,income,visits\n7000,2026-01-01T00:00:00Z,1,1\n")
        online = open_view(open_store(url), account())
        view = replace(account(), source=CsvFiles(str(source)))
        with duckdb.connect() as connection:
            materialize(view, online, connection, folder, folder / "bad", until_us=1_800_000_000_000_000)

        def told() -> dict[str, float]:
            return metrics(serving, "falaj_feature_newest_timestamp_seconds")

        until(lambda: told() == {'{view="account@1"}': 1_767_225_600.0}, "it is told")
        assert metrics(serving, "falaj_feature_materialized_timestamp_seconds") == {
            '{view="account@1"}': 1_800_000_000.0
        }

"""Rows pushed to a real server, whose view has no other source, are in a training set and come again."""

import json
import time
from pathlib import Path

from falaj.features.online.materialize import materialize_views
from falaj.features.online.store import open_store
from falaj.features.registry import Registry
from tests.features.online.pushed import exported, pushed_view, read_at
from tests.server.serving_process import Serving


def test_row_that_a_server_answered_is_kept(tmp_path: Path) -> None:
    view = pushed_view(tmp_path / "log")
    Registry(tmp_path / "data" / "features.db").apply([view])
    (tmp_path / "models").mkdir()
    row = {"customer_id": 1, "at": "2026-01-01T00:00:00Z", "value": 0.1, "city": "Dubai"}
    with Serving(tmp_path, "--data-dir", str(tmp_path / "data")) as serving:
        path = "/v1/features/profile@1/push"
        status, _, said = serving.ask("POST", path, {"rows": [row]})
        assert (status, json.loads(said)) == (200, {"view": "profile@1", "rows": 1, "entities": 1})
        assert (
            serving.ask("POST", path, {"rows": [{**row, "customer_id": 2}, {**row, "value": "x"}]})[0] == 400
        )
        asked = {"views": ["profile"], "keys": {"customer_id": [1, 2]}}
        answer = json.loads(serving.ask("POST", "/v1/features/get", asked)[2])
        values = {"value": [0.1, None], "city": ["Dubai", None]}
        assert answer["views"]["profile@1"] == {"status": ["present", "missing"], "values": values}
        (tmp_path / "log").rename(tmp_path / "away")
        status, _, said = serving.ask("POST", path, {"rows": [row]})
        assert (status, "no folder" in json.loads(said)["error"]) == (503, True)
        (tmp_path / "away").rename(tmp_path / "log")
    now = time.time_ns() // 1000
    got, _ = exported(view, [(1, now), (2, now)], tmp_path / "out.parquet")
    assert [each["value"] for each in got] == [0.1, None]
    made = open_store(f"lmdb://{tmp_path}/made")
    materialize_views([view], made, tmp_path)
    assert read_at(made, view, [1, 2], now) == got

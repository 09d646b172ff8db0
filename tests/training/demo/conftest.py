"""The demo's data, once for all of its tests."""

from pathlib import Path

import pytest

from falaj.training.demo.data import ingest


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flights") / "data"
    ingest(folder)
    return folder

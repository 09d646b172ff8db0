from pathlib import Path

import pytest


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder for a repository of the test's own."""
    folder = tmp_path / "models"
    folder.mkdir()
    return folder

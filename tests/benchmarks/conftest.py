import os
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def programs() -> Path:
    """The folder of the native programs; FALAJ_BENCH_PROGRAMS names another than build/release."""
    folder = Path(os.environ.get("FALAJ_BENCH_PROGRAMS", _ROOT / "build" / "release"))
    if not (folder / "wire_load").is_file():
        pytest.fail(f"{folder} has no wire_load, which `make test` builds")
    return folder

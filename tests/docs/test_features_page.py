"""docs/features.md is followed: its files are written, its commands run, and what they say is compared."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.follow import PAGES, follow
from tests.features.online.redis_server import redis_server


@pytest.fixture
def redis_url() -> Iterator[str]:
    with redis_server() as server:
        yield server.url


def test_page_tells_what_really_happens_when_it_is_followed(tmp_path: Path, redis_url: str) -> None:
    ran = follow(
        PAGES / "features.md", tmp_path, {"STORE": redis_url}, timeout=180
    )  # a JVM on a busy machine
    assert ran == 46

"""docs/training.md is followed: its files are written, its commands run, and what they say is compared."""

from pathlib import Path

from tests.docs.follow import PAGES, follow


def test_page_tells_what_really_happens_when_it_is_followed(tmp_path: Path) -> None:
    assert follow(PAGES / "training.md", tmp_path, {"OMP_WAIT_POLICY": "passive"}) == 10

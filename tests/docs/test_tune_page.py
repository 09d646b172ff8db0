"""docs/tune.md is followed: its files are written, its commands run, and what they say is compared."""

from pathlib import Path

from tests.docs.follow import PAGES, follow


def test_page_tells_what_really_happens_when_it_is_followed(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    assert follow(PAGES / "tune.md", tmp_path, {"PYTHONPATH": str(root)}) == 5

"""The registry keeps every version as it was applied."""

import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from falaj.features import Column, DefinitionError, Entity, ParquetFiles, View
from falaj.features.identity import content_hash, meaning
from falaj.features.registry import Registry

_VIEW = View(
    name="profile",
    version=1,
    entity=Entity("customer", {"customer_id": "INT64"}),
    source=ParquetFiles("profiles/*.parquet"),
    columns=(Column("age", "INT8"),),
    event_time="moved_at",
    known_time="loaded_at",
)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "data" / "features.db")


def test_versions_are_kept_as_they_were_applied(registry: Registry) -> None:
    later = replace(_VIEW, version=3, ttl=timedelta(days=1))
    other = replace(_VIEW, name="orders", owner="shop")
    assert registry.apply([later, _VIEW, other]) == [(other, "new"), (_VIEW, "new"), (later, "new")]
    assert [str(found) for found in registry.versions()] == [
        "view orders@1",
        "view profile@1",
        "view profile@3",
    ]
    found = registry.find("profile")
    assert found.version == 3
    assert found.meaning == meaning(later)
    assert found.content_hash == content_hash(meaning(later))
    assert registry.find("profile", 1).meaning == meaning(_VIEW)
    assert registry.find("orders").stewardship["owner"] == "shop"


def test_nothing_changes_when_the_same_is_applied_again(registry: Registry) -> None:
    registry.apply([_VIEW])
    before = registry.versions()
    assert registry.apply([_VIEW]) == [(_VIEW, "unchanged")]
    assert registry.versions() == before


def test_owner_is_changed_without_a_new_version(registry: Registry) -> None:
    registry.apply([_VIEW])
    assert registry.apply([replace(_VIEW, owner="risk")])[0][1] == "owner or tags changed"
    (found,) = registry.versions()
    assert found.stewardship["owner"] == "risk"
    assert found.content_hash == content_hash(meaning(_VIEW))


def test_all_are_refused_when_one_differs_from_its_version(registry: Registry) -> None:
    registry.apply([_VIEW])
    before = registry.versions()
    changed = replace(_VIEW, ttl=timedelta(seconds=1))
    complaint = "view profile@1: is registered and differs: ttl_us: null -> 1000000. A changed view needs"
    with pytest.raises(DefinitionError, match=complaint):
        registry.apply([replace(_VIEW, name="another"), changed])
    assert registry.versions() == before


def test_version_is_refused_when_it_is_below_one_that_is_there(registry: Registry) -> None:
    registry.apply([replace(_VIEW, version=3)])
    with pytest.raises(
        DefinitionError, match="view profile@2: version 3 is registered; a new one is above it"
    ):
        registry.apply([replace(_VIEW, version=2)])


def test_view_is_not_found_when_it_was_not_applied(registry: Registry) -> None:
    with pytest.raises(DefinitionError, match="view profile: is not registered"):
        registry.find("profile")
    registry.apply([_VIEW])
    with pytest.raises(DefinitionError, match="view profile@2: is not registered; there are 1"):
        registry.find("profile", 2)


def test_one_wins_when_many_apply_different_definitions_at_once(registry: Registry) -> None:
    together = threading.Barrier(8)
    won, lost = [], []

    def apply(days: int) -> None:
        together.wait()
        try:
            registry.apply([replace(_VIEW, ttl=timedelta(days=days))])
            won.append(days)
        except DefinitionError:
            lost.append(days)

    threads = [threading.Thread(target=apply, args=(days,)) for days in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert len(lost) == 7
    assert registry.find("profile").meaning["ttl_us"] == won[0] * 86_400_000_000

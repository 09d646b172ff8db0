"""The table [shared_memory]: safe by default, and strict."""

import os
import pwd
from pathlib import Path

import pytest

from falaj.server.errors import ConfigError
from falaj.server.ops.layers import Flag
from falaj.server.ops.settings import load_settings
from falaj.server.ops.shared_memory import SharedMemory


def _settings(tmp_path: Path, text: str) -> SharedMemory:
    file = tmp_path / "falaj.toml"
    file.write_text(f"[shared_memory]\n{text}\n", encoding="utf-8")
    return load_settings(file, environment={}).shared_memory


def test_nothing_is_allowed_when_nothing_is_said() -> None:
    assert SharedMemory().open() is None
    assert SharedMemory().prefix == ("falaj_",)


def test_registry_is_empty_when_it_is_allowed() -> None:
    registry = SharedMemory(allow=True).open()
    assert registry is not None
    assert registry.regions() == []


def test_prefixes_are_several_when_a_variable_lists_them() -> None:
    flags = {"shared_memory.allow": Flag("--allow-shared-memory", True)}
    environment = {"FALAJ_SHARED_MEMORY_PREFIX": "input_, output_"}
    told = load_settings(flags=flags, environment=environment).shared_memory
    assert (told.allow, told.prefix) == (True, ("input_", "output_"))


@pytest.mark.parametrize("prefix", ["", "/falaj", "../x", ".x", "a b", "x" * 201, "ü"])
def test_prefix_is_refused_when_it_is_no_beginning_of_a_name(tmp_path: Path, prefix: str) -> None:
    with pytest.raises(ConfigError, match=r"prefix\[0\].*expected letters"):
        _settings(tmp_path, f'prefix = ["{prefix}"]')


def test_prefix_is_refused_when_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="got none"):
        _settings(tmp_path, "prefix = []")


def test_owners_are_numbers_when_users_are_named(tmp_path: Path) -> None:
    name = pwd.getpwuid(os.getuid()).pw_name
    assert _settings(tmp_path, f'owners = ["{name}", "4242"]').owner_ids() == [os.getuid(), 4242]
    with pytest.raises(ConfigError, match=r"owners\[0\].*there is no user 'nobody-at-all'"):
        _settings(tmp_path, 'owners = ["nobody-at-all"]')

"""docs/configuration.md names every setting, with the default and the range that it really has."""

import re
from pathlib import Path

import msgspec
import pytest

from falaj.server.ops.layers import keys_of
from falaj.server.ops.reload import RELOADABLE
from falaj.server.ops.section import Section
from falaj.server.ops.settings import Settings, load_settings

_PAGE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
_UNITS = (("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10))


def _sections() -> dict[str, str]:
    parts = re.split(r"^## \[(\w+)\]\n", _PAGE, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def _rows(section: str) -> dict[str, tuple[str, str]]:
    """Key to default and range, as the section's table says."""
    lines = [line for line in _sections()[section].splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    found = {key.strip("`"): (default, bounds) for key, _, default, bounds, _ in cells}
    assert len(found) == len(lines), "a key is there twice"
    return found


def _written(key: str, value: object) -> str:
    """A value as the page writes it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, str):
        return f'`"{value}"`'
    if isinstance(value, tuple):
        return "`[" + ", ".join(f'"{item}"' for item in value) + "]`"
    assert isinstance(value, int | float)
    if key.endswith("_bytes"):
        for unit, power in _UNITS:
            if value >= 2**power and value % 2**power == 0:
                return f"{int(value) >> power} {unit}"
    return f"{value:.15g}"


_TABLES: dict[str, type[Section]] = {field.name: field.type for field in msgspec.structs.fields(Settings)}


@pytest.mark.parametrize("section", _TABLES)
def test_page_names_every_key_with_its_true_default_when_section_is_read(section: str) -> None:
    rows = _rows(section)
    fields = {field.name: field for field in msgspec.structs.fields(_TABLES[section])}
    assert rows.keys() == fields.keys()
    for key, field in fields.items():
        # What an absent value or a switch that is off means may follow a colon.
        told = re.sub(r"^(none|`false`):.*", r"\1", rows[key][0])
        assert told == _written(key, field.default), key
        bounds = _TABLES[section].BOUNDS.get(key)
        wanted = "" if bounds is None else " to ".join(_written(key, bound) for bound in bounds)
        assert rows[key][1] == wanted, key


def test_page_has_no_section_of_its_own_when_compared_with_settings() -> None:
    assert _sections().keys() == _TABLES.keys()


def test_page_example_loads_when_it_is_toml(tmp_path: Path) -> None:
    blocks = re.findall(r"^```toml\n(.*?)^```$", _PAGE, re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        path = tmp_path / "falaj.toml"
        path.write_text(block, encoding="utf-8")
        assert load_settings(path, environment={}) != Settings()


def test_page_names_what_can_change_while_it_runs_when_compared() -> None:
    running = _PAGE[_PAGE.index("## While it runs") : _PAGE.index("The other keys that differ")]
    assert set(re.findall(r"`(\w+\.\w+)`", running)) == RELOADABLE


def test_page_variables_and_flags_are_known_when_named() -> None:
    keys = {key for key, _ in keys_of(Settings)}
    variables = {"FALAJ_" + key.replace(".", "_").upper() for key in keys}
    named = set(re.findall(r"\bFALAJ_[A-Z_]*[A-Z]\b", _PAGE)) - {"FALAJ_SECTION_KEY", "FALAJ_CONFIG"}
    assert len(named) >= 2
    assert named <= variables
    assert set(re.findall(r"--set ([\w.]+)=", _PAGE)) <= keys

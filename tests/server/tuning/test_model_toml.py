"""A model.toml is edited where it has to be, and nowhere else."""

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falaj.server.errors import ConfigError
from falaj.server.tuning.model_toml import with_keys, without

WHERE = "model.toml"
VALUES = {"max_batch_size": 32, "instances": 2, "threads": 1}


def test_keys_are_added_when_there_is_no_file_yet() -> None:
    assert with_keys("", VALUES, where=WHERE) == "max_batch_size = 32\ninstances = 2\nthreads = 1\n"


def test_comments_and_other_keys_stay_when_keys_are_replaced() -> None:
    text = (
        "# how we serve it\n"
        "slo_ms = 10.0   # what callers wait\n"
        'instances = "auto"  # measured at load\n'
        "threads=4# of one run\n"
        "\n"
        "[versions]\n"
        "n = 2 # keep one\n"
        "[[input]]\n"
        'name = "x"\n'
    )
    assert with_keys(text, VALUES, where=WHERE) == (
        "# how we serve it\n"
        "slo_ms = 10.0   # what callers wait\n"
        "instances = 2  # measured at load\n"
        "threads= 1# of one run\n"
        "max_batch_size = 32\n"
        "\n"
        "[versions]\n"
        "n = 2 # keep one\n"
        "[[input]]\n"
        'name = "x"\n'
    )


def test_keys_come_first_when_the_file_begins_with_a_table() -> None:
    text = "[versions]\nn = 2\n"
    assert with_keys(text, {"threads": 1}, where=WHERE) == "threads = 1\n\n[versions]\nn = 2\n"


def test_line_is_ended_when_the_file_does_not_end_it() -> None:
    assert with_keys("slo_ms = 3.0", {"threads": 1}, where=WHERE) == "slo_ms = 3.0\nthreads = 1\n"


def test_quoted_keys_are_known_when_they_are_replaced() -> None:
    assert with_keys("\"threads\" = 2\n'instances' = 1\n", {"threads": 8, "instances": 9}, where=WHERE) == (
        "\"threads\" = 8\n'instances' = 9\n"
    )


@pytest.mark.parametrize(
    "text",
    [
        'input = [\n  {name = "x"},\n]\n',
        'parameters = {threads = 3, name = "threads = 2"}\n',
        "session = {}\n\n# threads = 5\n\n[parameters]\nthreads = 7\n",
        '[parameters]\ntext = """\nthreads = 1\n"""\n',
    ],
)
def test_only_top_level_keys_change_when_other_things_look_alike(text: str) -> None:
    edited = with_keys(text, VALUES, where=WHERE)
    assert tomllib.loads(edited) == {**tomllib.loads(text), **VALUES}
    for line in text.splitlines():
        assert line in edited.splitlines()


def test_file_is_left_to_its_owner_when_it_is_not_edited_safely() -> None:
    text = 'parameters = {text = """\nthreads = 1\n"""}\n'
    with pytest.raises(ConfigError, match=r"model\.toml.*by hand: max_batch_size = 32, instances = 2"):
        with_keys(text, VALUES, where=WHERE)


@pytest.mark.parametrize("text", ["threads = ", "unknown = 1\n", "threads = 0\n"])
def test_error_names_the_file_when_it_is_not_valid(text: str) -> None:
    with pytest.raises(ConfigError, match=r"model\.toml"):
        with_keys(text, VALUES, where=WHERE)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("slo_ms = 3.0\n", "slo_ms = 3.0\n"),
        (
            "slo_ms = 3.0\n[cache]\nmax_bytes = 5 # few\n\n[versions]\nn = 2\n",
            "slo_ms = 3.0\n[versions]\nn = 2\n",
        ),
        ("cache = {}\nslo_ms = 3.0\n", "slo_ms = 3.0\n"),
        ("[cache]\n[cache.more]\na = 1\n[versions]\nn = 2\n", "[versions]\nn = 2\n"),
        ("[parameters]\ncache = 2\n", "[parameters]\ncache = 2\n"),
    ],
)
def test_table_is_taken_out_when_it_is_not_to_be_measured(text: str, left: str) -> None:
    assert without(text, "cache", where=WHERE) == left


def test_reason_is_told_when_a_table_is_not_taken_out_safely() -> None:
    with pytest.raises(ConfigError, match=r"model\.toml.*write it as a table \[cache\]"):
        without("cache.max_bytes = 5\n", "cache", where=WHERE)


LINES = st.sampled_from(
    [
        "# a comment",
        "",
        "slo_ms = 5.0 # five",
        'instances = "auto"',
        "threads = 3 # three",
        "max_batch_size = 8",
        'backend = "onnxruntime"',
        "drain_seconds=1",
    ]
)
TABLES = st.sampled_from(["", "[versions]\nn = 2\n", '[session]\n"session.a" = "threads = 1"\n'])


NUMBERS = st.dictionaries(st.sampled_from(sorted(VALUES)), st.integers(1, 99))


@settings(max_examples=50)
@given(st.lists(LINES, unique=True), TABLES, NUMBERS)
def test_file_says_the_same_and_the_values_when_it_is_edited(
    lines: list[str], tables: str, values: dict[str, int]
) -> None:
    text = "\n".join(lines) + "\n" + tables
    edited = with_keys(text, values, where=WHERE)
    assert tomllib.loads(edited) == {**tomllib.loads(text), **values}
    assert with_keys(edited, values, where=WHERE) == edited
    for line in text.splitlines():
        assert line in edited.splitlines() or line.split(" ")[0] in values

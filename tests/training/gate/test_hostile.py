"""Hostile rows: what is in them, and what of them is compared."""

import unicodedata

import numpy as np
import pytest

from falaj.training.gate.conditioning import own_moves
from falaj.training.gate.hostile import combined_sets, hostile_sets
from falaj.training.gate.rows import RowSet, count
from falaj.training.original import ModelInput, ModelOutput, Original

KNOWN = ("Zürich", "abu dhabi", "x")


@pytest.fixture
def original() -> Original:
    inputs = (
        ModelInput("x", "FP32", (3,)),
        ModelInput("count", "INT64", (1,)),
        ModelInput("city", "BYTES", (1,)),
        ModelInput("note", "BYTES", (1,)),
        ModelInput("member", "BOOL", (1,)),
    )
    return Original(
        "onnx",
        "regression",
        inputs,
        (ModelOutput("y", "FP32", (1,), "value"),),
        None,
        lambda rows: {"y": (rows["x"].astype("f8") @ np.array([1.0, 100.0, 0.0]))[:, None].astype("f4")},
        categories={"city": KNOWN},
    )


@pytest.fixture
def rows() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    texts = {"city": KNOWN, "note": ("late again", "on time")}
    return {
        "x": rng.normal(size=(20, 3)).astype(np.float32),
        "count": rng.integers(0, 9, (20, 1)),
        **{name: rng.choice(np.array(of, object), (20, 1)) for name, of in texts.items()},
        "member": rng.random((20, 1)) < 0.5,
    }


def sets(original: Original, rows: dict[str, np.ndarray], compares: bool = True) -> dict[str, RowSet]:
    made = hostile_sets(original, rows, np.random.default_rng(1), compares=compares)
    return {each.kind: each for each in made}


def test_every_value_is_in_every_column_when_few(original: Original, rows: dict[str, np.ndarray]) -> None:
    made = sets(original, rows)
    info = np.finfo(np.float32)
    wanted = {"infinite": [np.inf, -np.inf], "float32 limits": [info.max, info.min]}
    wanted["denormals"] = [info.smallest_subnormal, info.tiny]
    for kind, values in wanted.items():
        for column in range(3):
            for value in values:
                assert (made[kind].rows["x"][:, column] == np.float32(value)).any(), (kind, column, value)
    zeros = made["zeros"].rows["x"]
    assert (np.signbit(zeros) & (zeros == 0)).any(axis=0).all()
    assert np.isnan(made["missing"].rows["x"]).any(axis=0).all()
    assert {2**53 + 1, 2**24 + 1} <= set(made["large integers"].rows["count"].ravel().tolist())
    assert set(made["known categories"].rows["city"].ravel()) == set(KNOWN)


def test_one_column_is_changed_when_a_set_is_of_single_values(
    original: Original, rows: dict[str, np.ndarray]
) -> None:
    real = {tuple(row) for row in rows["x"].tolist()}
    for row in sets(original, rows)["infinite"].rows["x"].tolist():
        assert any(sum(a != b for a, b in zip(row, other, strict=True)) == 1 for other in real)


def test_texts_are_varied_in_case_space_and_unicode_form_when_known(
    original: Original, rows: dict[str, np.ndarray]
) -> None:
    made = sets(original, rows)
    variants = set(made["variants of known texts"].rows["city"].ravel())
    assert {"zürich", "ZÜRICH", " Zürich", "Zürich ", unicodedata.normalize("NFD", "Zürich")} <= variants
    assert "LATE AGAIN" in made["variants of known texts"].rows["note"].ravel()
    assert "" in made["empty texts"].rows["city"].ravel()
    assert max(len(text) for text in made["long texts"].rows["city"].ravel()) >= 20_000


def test_rows_of_a_group_have_one_value_in_one_column_when_grouped(
    original: Original, rows: dict[str, np.ndarray]
) -> None:
    made = sets(original, rows)["infinite"]
    for group in np.unique(made.group):
        x = made.rows["x"][made.group == group]
        places = np.argwhere(np.isinf(x))
        assert len(set(places[:, 1].tolist())) == 1
        assert len(set(x[np.isinf(x)].tolist())) == 1


def test_ends_of_the_range_bind_only_models_that_compare(
    original: Original, rows: dict[str, np.ndarray]
) -> None:
    for compares in (True, False):
        made = sets(original, rows, compares)
        assert made["infinite"].binding == made["float32 limits"].binding == compares
        assert made["missing"].binding
        assert made["large integers"].binding


def test_kinds_are_left_out_of_combinations_when_the_original_refuses_them(
    original: Original, rows: dict[str, np.ndarray]
) -> None:
    rng = np.random.default_rng(2)
    plain, missing = combined_sets(original, rows, rng, set())
    assert not np.isnan(plain.rows["x"]).any()
    assert np.isnan(missing.rows["x"]).any()
    assert not np.isinf(missing.rows["x"]).any()
    assert "" in plain.rows["city"].ravel()
    (only,) = combined_sets(original, rows, rng, {"missing", "empty texts"})
    assert "" not in only.rows["city"].ravel()
    assert count(only.rows) == count(plain.rows)


def test_own_moves_are_of_the_size_of_rounding_when_inputs_are_large(original: Original) -> None:
    rows = {"x": np.array([[2.0**24, 1.0, 0.0], [0.5, 0.5, 0.5]], np.float32)}
    moves = own_moves(original, rows, original.predict(rows), np.random.default_rng(0))["y"]
    assert 32 * 1 <= moves[0, 0] <= 32 * 4  # numbers about 2^24 are 1 or 2 apart
    assert 0 < moves[1, 0] < 1e-3

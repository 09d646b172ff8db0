"""Inputs of requests, made up or read."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from falaj._core import InvalidInput
from falaj.server.bench.inputs import inputs_of, shape_of
from falaj.server.bench.target import Target
from falaj.server.tensors import Tensor

X = Tensor("x", "FP32", (-1, 3))
IMAGE = Tensor("image", "FP32", (-1, 3, -1, -1))


def _target(**more: Any) -> Target:
    return Target("http://127.0.0.1:1", "m", **more)


@pytest.mark.parametrize(
    ("tensor", "more", "shape"),
    [
        (X, {}, (1, 3)),
        (X, {"batch_size": 8}, (8, 3)),
        (Tensor("x", "FP32", (2, 3)), {"batch_size": 8}, (2, 3)),
        (IMAGE, {"shapes": {"image": (3, 8, 9)}, "batch_size": 2}, (2, 3, 8, 9)),
        (IMAGE, {"shapes": {"image": (5, 3, 8, 9)}}, (5, 3, 8, 9)),
        (Tensor("s", "INT64", ()), {}, ()),
    ],
)
def test_shape_is_whole_when_batch_and_options_are_filled_in(
    tensor: Tensor, more: dict[str, Any], shape: tuple[int, ...]
) -> None:
    assert shape_of(tensor, _target(**more)) == shape


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ({}, "input 'image' .*: expected a shape for its variable dimensions"),
        ({"shapes": {"image": (4, 8, 8)}}, "expected a shape that fits it"),
        ({"shapes": {"image": (8,)}}, "expected a shape that fits it"),
        ({"shapes": {"imag": (8,)}}, "the model has no such input; it has 'image'"),
        ({"without": ("x",)}, "without 'x': the model has no such input; it has 'image'"),
        ({"batch_size": 0, "shapes": {"image": (3, 8, 8)}}, "batch size: expected at least 1"),
        ({"batch_size": 10**9, "shapes": {"image": (3, 800, 800)}}, "expected at most 1 GiB"),
    ],
)
def test_target_is_refused_when_a_shape_cannot_be_made(more: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        inputs_of(_target(**more), [IMAGE])


def test_requests_differ_and_are_the_same_again_when_made_up() -> None:
    texts = Tensor("t", "BYTES", (-1,))
    other = Tensor("o", "FP32", (-1,))
    made = [inputs_of(_target(batch_size=4, without=("o",)), [X, texts, other]) for _ in range(2)]
    assert len(made[0]) == 16
    assert set(made[0][0]) == {"x", "t"}
    assert made[0][0]["x"][1].shape == (4, 3)
    assert not np.array_equal(made[0][0]["x"][1], made[0][1]["x"][1])
    np.testing.assert_array_equal(made[0][5]["x"][1], made[1][5]["x"][1])


def test_few_are_made_up_when_requests_are_large() -> None:
    assert len(inputs_of(_target(), [Tensor("x", "FP32", (-1, 1 << 20))])) == 2


def test_rows_are_asked_in_batches_when_arrays_are_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.npz"
    rows = np.arange(15, dtype=np.float64).reshape(5, 3).astype(np.float32)
    np.savez(path, x=rows, k=np.array([7], np.int64))
    made = inputs_of(_target(data=path, batch_size=2), [X, Tensor("k", "INT64", (1,))])
    assert [inputs["x"][1].tolist() for inputs in made] == [rows[:2].tolist(), rows[2:4].tolist()]
    assert all(inputs["k"][1].tolist() == [7] for inputs in made)


def test_texts_become_bytes_when_arrays_are_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.npz"
    np.savez(path, t=np.array(["a", "ü"]))
    made = inputs_of(_target(data=path), [Tensor("t", "BYTES", (-1,))])
    assert [inputs["t"][1].tolist() for inputs in made] == [[b"a"], ["ü".encode()]]


def test_requests_are_those_of_the_file_when_json_is_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    tensor = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [[1, 2, 3]]}
    path.write_text(json.dumps([{"inputs": [tensor]}, {"inputs": [{**tensor, "data": [4, 5, 6]}]}]))
    made = inputs_of(_target(data=path), [])
    assert [inputs["x"][1].tolist() for inputs in made] == [[[1, 2, 3]], [[4, 5, 6]]]
    assert made[0]["x"][0] == "FP32"


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.json", "{", "cannot be read"),
        ("a.json", "[]", "expected at least one request"),
        ("a.json", '{"inputs": []}', "expected V2 requests"),
        ("a.json", '{"inputs": [{"name": "x"}]}', "expected inputs of `name`"),
        (
            "a.json",
            '{"inputs":[{"name":"x","shape":[2],"datatype":"FP32","data":[1]}]}',
            "'x': cannot reshape",
        ),
        ("a.json", '{"inputs":[{"name":"x","shape":[1],"datatype":"FP8","data":[1]}]}', "datatype of V2"),
        (
            "a.json",
            '{"inputs":[{"name":"x","shape":[1],"datatype":"INT8","data":[300]}]}',
            "out of the range",
        ),
        ("a.npz", "no archive", "cannot be read"),
        ("a.txt", "", "expected .json or .npz"),
    ],
)
def test_file_is_refused_when_it_holds_no_requests(
    tmp_path: Path, name: str, content: str, complaint: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InvalidInput, match=complaint):
        inputs_of(_target(data=tmp_path / name), [X])


@pytest.mark.parametrize(
    ("arrays", "complaint"),
    [
        ({"y": np.zeros((2, 3), np.float32)}, "'y': the model has no such input"),
        ({}, "has no array 'x'"),
        ({"x": np.zeros((2, 4), np.float32)}, r"'x': expected \[-1, 3\], got \[2, 4\]"),
        ({"x": np.zeros((0, 3), np.float32)}, "expected arrays of at least 1 rows, got 0"),
    ],
)
def test_arrays_are_refused_when_they_do_not_fit(
    tmp_path: Path, arrays: dict[str, Any], complaint: str
) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InvalidInput, match=complaint):
        inputs_of(_target(data=tmp_path / "a.npz"), [X])


def test_file_is_asked_for_when_the_server_tells_of_no_inputs() -> None:
    with pytest.raises(InvalidInput, match="does not say what the inputs are: expected a file"):
        inputs_of(_target(), [])

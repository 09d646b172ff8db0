"""Files of rows as inputs: by the bundle, by name, or the one matrix."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from falaj.training.errors import TrainingError
from falaj.training.optimize.rows import Signature, read_rows, signature_of
from tests.zoo.model import parse
from tests.zoo.nets import mlp

_MIXED = Signature((("x", "FP32", (-1, 2)), ("city", "BYTES", (-1, 1)), ("id", "INT64", (-1,))), {})
_TABLE = pa.table(
    {
        "city": ["Dubai", None, "Al Ain"],
        "b": pa.array([1, None, 3], pa.int64()),
        "id": [7, 8, 9],
        "a": [0.5, 1.5, None],
        "late": [0, 1, 0],
    }
)


def written(folder: Path, table: pa.Table, ending: str) -> Path:
    path = folder / f"rows{ending}"
    if ending == ".csv":
        pyarrow.csv.write_csv(table, path)
    else:
        pyarrow.parquet.write_table(table, path)
    return path


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_columns_go_by_name_and_the_rest_to_the_matrix_when_no_bundle_tells(
    tmp_path: Path, ending: str
) -> None:
    rows = read_rows(written(tmp_path, _TABLE, ending), _MIXED, "late")
    np.testing.assert_array_equal(
        rows.inputs["x"], np.array([[1, 0.5], [np.nan, 1.5], [3, np.nan]], np.float32)
    )
    assert rows.inputs["x"].dtype == np.float32
    assert rows.inputs["city"].tolist() == [["Dubai"], [""], ["Al Ain"]]
    np.testing.assert_array_equal(rows.inputs["id"], np.array([7, 8, 9]))
    assert rows.labels is not None
    np.testing.assert_array_equal(rows.labels, [0, 1, 0])


def test_columns_go_where_the_bundle_tells_when_it_does(tmp_path: Path) -> None:
    signature = Signature((("x", "FP32", (-1, 2)),), {"x": ("a", "b")})
    rows = read_rows(written(tmp_path, _TABLE, ".parquet"), signature, None)
    np.testing.assert_array_equal(rows.inputs["x"][:, 1], np.array([1, np.nan, 3], np.float32))
    with pytest.raises(TrainingError, match="expected columns c, which are not there"):
        read_rows(written(tmp_path, _TABLE, ".parquet"), Signature(signature.inputs, {"x": ("a", "c")}), None)


def test_labels_are_no_input_when_they_are_not_needed(tmp_path: Path) -> None:
    path = written(tmp_path, _TABLE, ".parquet")
    assert read_rows(path, _MIXED, "late", labelled=False).labels is None
    rows = read_rows(written(tmp_path, _TABLE.drop_columns(["late"]), ".csv"), _MIXED, "late", labelled=False)
    assert rows.inputs["x"].shape == (3, 2)


def test_signature_has_the_bundles_columns_when_there_is_one(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(parse(mlp().proto).SerializeToString())
    bundle = {"model": {"inputs": [{"name": "x", "columns": ["a", "b"]}, {"name": "z", "columns": []}]}}
    assert signature_of(model, bundle) == Signature((("x", "FP32", (-1, 32)),), {"x": ("a", "b")})
    assert signature_of(model, None).columns == {}
    model.write_bytes(b"none")
    with pytest.raises(TrainingError, match="could not load"):
        signature_of(model, None)


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ((("x", "FP32", (-1, 9)),), r"input 'x' \[-1, 9\]: got 5 columns for it: city, b, id, a, late"),
        ((("x", "FP32", (-1, 5)),), "column 'city': expected FP32, got string"),
        ((("x", "FP32", (-1, 2)), ("y", "FP32", (-1, 2))), "which columns are of the inputs x, y"),
        ((("x", "FP32", (-1, 2, 2)),), "expected an .npz, a table has no such rows"),
        ((("b", "INT64", (-1,)),), "column 'b': expected integers, got int64 with nulls"),
    ],
)
def test_table_is_refused_when_it_is_not_what_the_model_takes(
    tmp_path: Path, inputs: tuple[tuple[str, str, tuple[int, ...]], ...], told: str
) -> None:
    with pytest.raises(TrainingError, match=told):
        read_rows(written(tmp_path, _TABLE, ".parquet"), Signature(inputs, {}), None)


def test_arrays_are_refused_when_one_is_missing(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", z=np.zeros(3))
    with pytest.raises(TrainingError, match="expected arrays x, y, got z"):
        read_rows(tmp_path / "rows.npz", Signature((("x", "FP32", (-1,)),), {}), "y")
    (tmp_path / "rows.txt").write_text("a")
    with pytest.raises(TrainingError, match=r"expected a file that ends in \.npz"):
        read_rows(tmp_path / "rows.txt", _MIXED, None)

"""What graphs answer, beside what their originals do."""

from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto

from falaj.training.graph.convert import to_onnx
from falaj.training.graph.target import Target
from falaj.training.original import Arrays, Original


def answer(model: ModelProto, arrays: Arrays) -> dict[str, NDArray[Any]]:
    """Return a model's outputs by their names."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [one.name for one in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(arrays)), strict=True))


def assert_alike(
    original: Original,
    arrays: Arrays,
    *,
    within: float = 0.0,
    target: Target | None = None,
    near: float = 0.0,
    model: ModelProto | None = None,
) -> ModelProto:
    """Check the graph's answers to all rows, to the first alone and to none; return the graph.

    Args:
        original: Whose graph.
        arrays: Its inputs.
        within: How far a number may be off, relative where it is above 1.
        target: Of the graph.
        near: Rows whose two highest scores differ by no more may have another label.
        model: The graph, where it is made already.
    """
    model = model or to_onnx(original, target)
    for rows in (None, 1, 0):
        some = {name: array[:rows] for name, array in arrays.items()}
        expected, got = original.predict(some), answer(model, some)
        assert list(got) == list(expected) == [one.name for one in original.outputs]
        ties = _ties(original, expected, near)
        for one in original.outputs:
            right, mine = expected[one.name], got[one.name]
            assert mine.dtype == right.dtype, one.name
            assert mine.shape == right.shape == (len(ties), *one.shape), one.name
            if one.role == "label":
                np.testing.assert_array_equal(mine[~ties], right[~ties])
            else:
                np.testing.assert_allclose(mine, right, rtol=within, atol=within)
    return model


def around_thresholds(original: Original, arrays: Arrays, most: int = 4000) -> Arrays:
    """Return rows in which one column is a threshold as FP32, or one of the two values beside it."""
    rows: list[tuple[str, int, np.float32]] = []
    for one in original.thresholds:
        nearest = one.values.astype(np.float32)
        with np.errstate(over="ignore"):
            beside = (nearest, np.nextafter(nearest, -np.inf), np.nextafter(nearest, np.inf))
        for values in (of[np.isfinite(of)] for of in beside):
            rows += [(one.input, one.column, value) for value in values]
    assert rows
    order = np.random.default_rng(1).permutation(len(rows))[:most]
    total = len(next(iter(arrays.values())))
    made = {name: array[np.arange(len(order)) % total].copy() for name, array in arrays.items()}
    for row, of in enumerate(order):
        name, column, value = rows[of]
        made[name][row, column] = value
    return made


def with_extremes(arrays: Arrays, name: str = "x", infinite: bool = True) -> Arrays:
    """Return rows in each of which one column of a matrix has an extreme value, and one of which all do."""
    big = np.finfo(np.float32).max
    values = [np.nan, 0.0, -0.0, 1e-40, -1e-40, 1e-35, -1e-35, big, -big, 2.0**24 + 2]
    values += [np.inf, -np.inf] if infinite else []
    columns = arrays[name].shape[1]
    count = columns * len(values) + len(values)
    made = {of: np.resize(array, (count, *array.shape[1:])).copy() for of, array in arrays.items()}
    for at, value in enumerate(values):
        for column in range(columns):
            made[name][at * columns + column, column] = value
        made[name][columns * len(values) + at] = value
    return made


def _ties(original: Original, expected: dict[str, NDArray[Any]], near: float) -> NDArray[np.bool_]:
    scores = [one.name for one in original.outputs if one.role == "scores"]
    rows = len(next(iter(expected.values())))
    if not scores or not rows:
        return np.zeros(rows, np.bool_)
    highest = np.sort(expected[scores[0]], axis=1)
    tied: NDArray[np.bool_] = highest[:, -1] - highest[:, -2] < near
    return tied

from pathlib import Path

import pytest

from falaj.training.errors import TrainingError
from falaj.training.fit.spec import DataSpec, ModelSpec, SplitSpec, TrainSpec, read_spec, spec_of

TOML = """
seed = 3
class_weight = "balanced"
[data]
path = "rows.parquet"
target = "left"
time = "when"
exclude = ["who"]
[split]
test_from = 2026-02-01T00:00:00Z
[model]
kind = "xgboost"
rounds = 50
[model.params]
eta = 0.1
[calibration]
method = "sigmoid"
[tuning]
trials = 4
[tuning.space]
max_depth = { low = 2, high = 6 }
"""


def written(folder: Path, text: str, name: str = "spec.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_spec_has_what_the_file_says_when_read(tmp_path: Path) -> None:
    spec = read_spec(written(tmp_path, TOML))
    assert spec.data == DataSpec("rows.parquet", "left", time="when", exclude=("who",))
    assert spec.split == SplitSpec(test_from="2026-02-01T00:00:00+00:00")
    assert spec.model == ModelSpec("xgboost", {"eta": 0.1}, 50)
    assert (spec.seed, spec.class_weight, spec.calibration.method) == (3, "balanced", "sigmoid")
    assert spec.tuning.space == {"max_depth": {"low": 2, "high": 6}}


def test_spec_is_the_same_when_it_is_told_as_json_and_read_again(tmp_path: Path) -> None:
    spec = read_spec(written(tmp_path, TOML))
    assert spec_of(spec.plain(), spec.origin) == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[dat]\npath = 'x'", "unknown key 'dat'; did you mean 'data'?"),
        (
            "[data]\npath = 'x'\ntarget = 'y'\nexcluded = ['z']",
            r"\[data\]: unknown key 'excluded'; did you mean 'exclude'?",
        ),
        ("seed = 1", r"expected a table \[data\]"),
        ("[data]\npath = 'x'\ntarget = 1", r"\[data\]: Expected `str`, got `int`"),
        ("[data]\npath = 'x'\ntarget = 'y'\n[model]\nkind = 'svm'", r"\[model\]: Invalid enum value 'svm'"),
        ("[data]\npath = 'x'\ntarget = 'y'\n[split]\ntest = 1.5", "split.test: expected a share between"),
        ("[data]\npath = 'x'\ntarget = 'y'\n[model.params]\nn_jobs = 2", "n_jobs: is said by `threads`"),
        (
            "[data]\npath = 'x'\ntarget = 'y'\n[model.params]\nmetric = 'auc'",
            "metric: is said by `data.task`",
        ),
        ("[data]\npath = 'x'\ntarget = 'y'\n[model]\nkind = 'pipeline'", "'pipeline' is what `build`"),
        ("[data]\npath = 'x'\ntarget = 'y'\n[class_weight]\n1 = -2.0", "expected weights above 0"),
        ("class_weight = ", "cannot be read"),
    ],
)
def test_spec_is_refused_with_the_reason_when_it_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        read_spec(written(tmp_path, text))


def test_spec_has_its_functions_when_it_is_python(tmp_path: Path) -> None:
    text = (
        "from falaj.training.fit.spec import DataSpec, ModelSpec, TrainSpec\n"
        "def build(params):\n    return params\n"
        "spec = TrainSpec(DataSpec('rows.parquet', 'left'), model=ModelSpec('pipeline'), build=build)\n"
    )
    spec = read_spec(written(tmp_path, text, "made.py"))
    assert spec.build is not None
    assert spec.build({"c": 1}) == {"c": 1}
    assert spec.origin == str(tmp_path / "made.py")


def test_spec_is_refused_with_file_and_line_when_python_fails(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"made.py:2: division by zero"):
        read_spec(written(tmp_path, "x = 1\n1 / 0\n", "made.py"))
    with pytest.raises(TrainingError, match=r"expected `spec = TrainSpec"):
        read_spec(written(tmp_path, "x = 1\n", "without_a_spec.py"))


def test_spec_is_refused_when_validation_and_test_are_all_rows() -> None:
    with pytest.raises(TrainingError, match="no rows to train on"):
        TrainSpec(DataSpec("x", "y"), split=SplitSpec(validation=0.5, test=0.5))

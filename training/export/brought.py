"""Models that someone brings, in the formats of the libraries that made them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from falaj.training.errors import TrainingError
from falaj.training.export.sample import Sample
from falaj.training.graph.estimator_forest import forest_of
from falaj.training.graph.forest import Forest
from falaj.training.library import family_of, require
from falaj.training.original import Original, Task
from falaj.training.tabular import Tabular

Classes = Sequence[int | str]


def load_original(
    path: Path,
    sample: Sample,
    *,
    task: Task | None = None,
    classes: Classes = (),
    module: str = "",
    outputs: Sequence[str] = (),
) -> Original:
    """Read a model from a file.

    `.joblib`, `.pkl`, `.pickle`: what scikit-learn, LightGBM, XGBoost, CatBoost or PyTorch pickled;
    `.json`, `.ubj`: XGBoost's; `.txt`: LightGBM's; `.cbm`: CatBoost's; `.pt`, `.pth`, `.pt2`: PyTorch's;
    `.onnx`. **Unpickling runs the code that is in the file: load only what you trust.** That holds for
    pickles, and for `.pt` and `.pth`.

    A booster's classes are 0, 1, ... unless told. Fitted on named columns it takes those of the sample,
    else all in order. A module takes the arrays of the sample in their order, or its table as `x`.

    Args:
        path: The file.
        sample: Rows as it was fitted on, without the target.
        task: What it is for, where it does not say: a module's, an ONNX model's.
        classes: The labels, in the order of the scores.
        module: `FILE.py:NAME`, the class or function that makes a module, where the file has its weights.
        outputs: Names of what a module gives.

    Raises:
        TrainingError: It cannot be read, or does not fit the sample.
    """
    readers: dict[str, Callable[[Path], Any]] = {
        ".joblib": _joblib,
        ".pkl": _joblib,
        ".pickle": _joblib,
        ".json": _xgboost,
        ".ubj": _xgboost,
        ".txt": _lightgbm,
        ".cbm": _catboost,
    }
    if not path.is_file():
        raise TrainingError(f"{path}: no such file")
    if path.suffix == ".onnx":
        return _onnx(path, sample, task, classes)
    if path.suffix in (".pt", ".pth", ".pt2"):
        from falaj.training.export.torch_files import read_module

        return _module(read_module(path, module), sample, task, classes, outputs, str(path))
    if path.suffix not in readers:
        known = ", ".join([*readers, ".pt", ".pth", ".pt2", ".onnx"])
        raise TrainingError(f"{path}: expected a file of one of {known}")
    model = readers[path.suffix](path)
    if family_of(model) == "torch":
        return _module(model, sample, task, classes, outputs, str(path))
    if hasattr(model, "get_params") and family_of(model) != "catboost":
        return _estimator(model, sample, classes, str(path))
    return _booster(model, sample, task, classes, str(path))


def _estimator(model: Any, sample: Sample, classes: Classes, origin: str) -> Original:
    from falaj.training.graph.pipeline_original import original_of_pipeline

    if classes:
        raise TrainingError(f"{origin}: the model has its classes; give none")
    return original_of_pipeline(model, sample.table(), origin=origin)


def _booster(model: Any, sample: Sample, task: Task | None, classes: Classes, origin: str) -> Original:
    from falaj.training.graph.tabular_original import original_of_tabular

    forest = forest_of(model)
    if forest is None:
        raise TrainingError(f"{origin}: expected trees, got a {type(model).__name__}")
    names = _names(model, sample, forest, origin)
    task = task or _task(forest)
    if task != "regression" and not classes:
        own = np.asarray(getattr(model, "classes_", ())).tolist()
        classes = own or list(range(max(2, forest.outputs)))
    sample.matrix(names)
    return original_of_tabular(Tabular(model, tuple(names)), task=task, classes=classes, origin=origin)


def _names(model: Any, sample: Sample, forest: Forest, origin: str) -> list[str]:
    """Return the booster's own names of its columns, if the sample has them, else the sample's."""
    have = [str(name) for name in sample.table().columns]
    told = getattr(model, "feature_names", None) or getattr(model, "feature_names_", None)
    told = model.feature_name() if hasattr(model, "feature_name") else told
    if told and set(told) <= set(have):
        return [str(name) for name in told]
    if len(have) != forest.features:
        raise TrainingError(f"{origin}: expected {forest.features} columns, the sample has {len(have)}")
    return have


def _task(forest: Forest) -> Task:
    if forest.link == "sigmoid":
        return "binary"
    return "multiclass" if forest.link in ("softmax", "sigmoids") else "regression"


def _module(
    model: Any, sample: Sample, task: Task | None, classes: Classes, outputs: Sequence[str], origin: str
) -> Original:
    from falaj.training.graph.torch_original import original_of_module

    table = sample.frame is not None
    arrays = {"x": sample.matrix()} if table else sample.arrays
    columns = {"x": [str(name) for name in sample.frame.columns]} if table else None
    return original_of_module(
        model,
        arrays,
        task=task or "other",
        classes=classes,
        outputs=outputs,
        columns=columns,
        origin=origin,
    )


def _onnx(path: Path, sample: Sample, task: Task | None, classes: Classes) -> Original:
    from falaj.training.export.onnx_sample import arrays_for
    from falaj.training.graph.onnx_original import original_of_onnx

    content = path.read_bytes()
    arrays, columns = arrays_for(content, sample, str(path))
    return original_of_onnx(content, arrays, task=task, classes=classes, columns=columns, origin=str(path))


def _joblib(path: Path) -> Any:
    require(str(path), "joblib")
    import joblib

    try:
        return joblib.load(path)
    except Exception as error:  # unpickling runs any code
        raise TrainingError(f"{path}: {type(error).__name__}: {error}") from error


def _xgboost(path: Path) -> Any:
    require(str(path), "xgboost")
    import xgboost

    booster = xgboost.Booster()
    try:
        booster.load_model(path)
    except xgboost.core.XGBoostError as error:
        raise TrainingError(f"{path}: XGBoost: {str(error).splitlines()[0]}") from error
    return booster


def _lightgbm(path: Path) -> Any:
    require(str(path), "lightgbm")
    import lightgbm

    try:
        return lightgbm.Booster(model_file=path)
    except lightgbm.basic.LightGBMError as error:
        raise TrainingError(f"{path}: LightGBM: {error}") from error


def _catboost(path: Path) -> Any:
    require(str(path), "catboost")
    import catboost

    model = catboost.CatBoost()
    try:
        model.load_model(str(path))
    except catboost.CatBoostError as error:
        raise TrainingError(f"{path}: CatBoost: {error}") from error
    return model

"""Every variant of every kind of model: it loads, has the original's interface, and answers any batch."""

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from falaj.training.errors import TrainingError
from falaj.training.optimize.calibration import quantise_statically
from falaj.training.optimize.candidate import Candidate, as_given, open_candidate
from falaj.training.optimize.quality import agreement_of
from falaj.training.optimize.trial import try_apart
from falaj.training.optimize.variants import VARIANTS, NotApplicable, Start, Variant, prepare
from tests.zoo.model import ZooModel, parse
from tests.zoo.nets import conv_net, mlp
from tests.zoo.strings import tokens_to_ids
from tests.zoo.transformer import transformer_encoder
from tests.zoo.trees import trees_gbdt

_BY_NAME: Mapping[str, Variant] = {variant.name: variant for variant in VARIANTS}
_NETS, _OTHERS = (
    ("mlp", "conv_net", "transformer_encoder"),
    ("trees_sklearn", "trees_lightgbm", "tokens_to_ids"),
)
_GRAPHS = [name for name in _BY_NAME if name.startswith("graph-")]


@dataclass(frozen=True)
class Case:
    original: Candidate
    rows: dict[str, np.ndarray]
    answers: dict[str, np.ndarray]
    start: Start


def sampled(model: ZooModel, rows: int) -> dict[str, np.ndarray]:
    drawn = model.sample(np.random.default_rng(3), rows)
    texts = np.frompyfunc(lambda value: value.decode(), 1, 1)
    return {name: texts(array) if array.dtype.kind == "O" else array for name, array in drawn.items()}


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    made = {}
    models = (mlp(), conv_net(), transformer_encoder(), trees_gbdt("sklearn"), trees_gbdt("lightgbm"))
    for model in (*models, tokens_to_ids()):
        folder = tmp_path_factory.mktemp(model.name)
        source = folder / "model.onnx"
        onnx.save(parse(model.proto), source)
        original = open_candidate(source, folder / "original")
        rows = sampled(model, 64)
        answers = original.answers(rows)
        made[model.name] = Case(
            original, rows, answers, Start(source, prepare(source, folder), rows, answers, folder)
        )
    return made


@pytest.mark.parametrize("kind", _BY_NAME)
@pytest.mark.parametrize("model", _NETS)
def test_variant_has_the_same_interface_when_a_net_is_converted(
    cases: dict[str, Case], model: str, kind: str, tmp_path: Path
) -> None:
    case = cases[model]
    out = tmp_path / "variant.onnx"
    assert _BY_NAME[kind].make(case.start, out)
    variant = open_candidate(out, tmp_path / "repository")
    assert variant.inputs == case.original.inputs
    assert variant.outputs == case.original.outputs
    given = variant.answers(case.rows)
    for of in agreement_of(case.answers, given, scores_decide=False):
        # Random weights: far, and still the same function.
        assert of.mean_error is not None
        assert of.mean_error < 0.5
        assert kind not in _GRAPHS or of.mean_error < 1e-5
    for count in (0, 1, 5):
        few = {name: np.ascontiguousarray(array[:count]) for name, array in case.rows.items()}
        told = variant.backend.run(few, as_given)
        assert {name: (array.dtype, array.shape) for name, array in told.items()} == {
            name: (array.dtype, (count, *array.shape[1:])) for name, array in case.answers.items()
        }


@pytest.mark.parametrize("kind", _BY_NAME)
@pytest.mark.parametrize("model", _OTHERS)
def test_variant_is_not_applicable_when_a_model_has_no_products(
    cases: dict[str, Case], model: str, kind: str, tmp_path: Path
) -> None:
    case = cases[model]
    out = tmp_path / "variant.onnx"
    if kind not in _GRAPHS:
        with pytest.raises(NotApplicable, match="no product or convolution with constants in it"):
            _BY_NAME[kind].make(case.start, out)
        return
    _BY_NAME[kind].make(case.start, out)
    variant = open_candidate(out, tmp_path / "repository")
    assert variant.inputs == case.original.inputs
    assert variant.outputs == case.original.outputs
    for name, array in variant.answers(case.rows).items():
        np.testing.assert_array_equal(array, case.answers[name])


def test_static_int8_is_made_when_biases_are_rows(cases: dict[str, Case], tmp_path: Path) -> None:
    """As scikit-learn's nets are exported: [1, n] where a product has [n]."""
    case = cases["mlp"]
    model = onnx.load(case.original.path)
    for tensor in model.graph.initializer:
        if len(tensor.dims) == 1:
            tensor.dims.insert(0, 1)
    source = tmp_path / "rows.onnx"
    onnx.save(model, source)
    start = Start(source, prepare(source, tmp_path), case.rows, case.answers, tmp_path)
    assert _BY_NAME["int8-static"].make(start, tmp_path / "variant.onnx")
    given = open_candidate(tmp_path / "variant.onnx", tmp_path / "repository").answers(case.rows)
    (of,) = agreement_of(case.answers, given, scores_decide=False)
    assert of.mean_error is not None
    assert of.mean_error < 0.1


def test_variant_answers_alone_when_its_rows_depend_on_each_other(
    cases: dict[str, Case], tmp_path: Path
) -> None:
    """Dynamic INT8 takes its scale from the whole batch, so the server does not batch it."""
    case = cases["transformer_encoder"]
    batched: dict[str, bool] = {}
    for kind in ("int8-dynamic", "int8-static"):
        _BY_NAME[kind].make(case.start, tmp_path / f"{kind}.onnx")
        batched[kind] = open_candidate(tmp_path / f"{kind}.onnx", tmp_path / kind).batchable
    assert batched == {"int8-dynamic": False, "int8-static": True}
    dynamic = open_candidate(tmp_path / "int8-dynamic.onnx", tmp_path / "again")
    first: dict[str, Any] = {name: array[:1] for name, array in case.rows.items()}
    alone = dynamic.backend.run(first, as_given)["pooled"]
    np.testing.assert_array_equal(dynamic.answers(case.rows)["pooled"][:1], alone)
    together = dynamic.backend.run(case.rows, as_given)["pooled"][:1]
    assert np.abs(together - alone).max() > 1e-4


def test_variant_is_smaller_when_weights_have_fewer_bits(cases: dict[str, Case], tmp_path: Path) -> None:
    start = cases["conv_net"].start
    whole = start.source.stat().st_size
    for kind, share in (("fp16", 0.55), ("int8-static", 0.32)):
        _BY_NAME[kind].make(start, tmp_path / f"{kind}.onnx")
        assert (tmp_path / f"{kind}.onnx").stat().st_size < share * whole


def test_failure_is_told_when_a_model_ends_the_process_or_is_refused(
    cases: dict[str, Case], tmp_path: Path
) -> None:
    case = cases["mlp"]
    try_apart(case.original.path, case.rows, tmp_path)
    with pytest.raises(TrainingError, match=r"model\.onnx: .*Got: 3 Expected: 32"):
        try_apart(case.original.path, {"x": np.zeros((2, 3), np.float32)}, tmp_path)
    (tmp_path / "none.onnx").write_bytes(b"none")
    with pytest.raises(TrainingError, match=r"none\.onnx: ONNX Runtime could not load 'none\.onnx'"):
        try_apart(tmp_path / "none.onnx", case.rows, tmp_path)


class SelfEnding:
    """Ends the process that unpickles it, as a wrong read does."""

    def __reduce__(self) -> tuple[Any, tuple[int]]:
        return signal.raise_signal, (signal.SIGSEGV,)


def test_failure_names_the_signal_when_the_process_is_ended(cases: dict[str, Case], tmp_path: Path) -> None:
    ended: Any = {"x": SelfEnding()}
    with pytest.raises(TrainingError, match=r"model\.onnx: ONNX Runtime ended the process by signal 11"):
        try_apart(cases["mlp"].original.path, ended, tmp_path)


def test_another_method_calibrates_when_one_cannot(cases: dict[str, Case], tmp_path: Path) -> None:
    start = cases["mlp"].start

    def quantise(*methods: str) -> str:
        return quantise_statically(
            start.prepared,
            tmp_path / "variant.onnx",
            start.calibration,
            start.answers,
            tmp_path,
            weights_only=False,
            methods=methods,
        )

    how = quantise("Guess", "MinMax")
    assert "ranges by MinMax of 64 rows" in how
    assert "errors on them: Guess cannot, MinMax 0.0" in how
    with pytest.raises(AttributeError, match="Guess"):
        quantise("Guess")

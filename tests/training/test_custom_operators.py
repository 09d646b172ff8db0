"""Which models need onnxruntime-extensions is read of their imports, and of nothing else."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import falaj
from falaj.training import custom_operators as operators
from falaj.training.custom_operators import custom_operators, find_extensions, imported_domains
from falaj.training.onnx_backend import load_onnx
from tests.extensions.images import image_classifier
from tests.extensions.texts import text_classifier


def _plain(weights: np.ndarray) -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "plain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", weights.size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", weights.size])],
        [numpy_helper.from_array(weights, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def test_domains_are_those_of_the_imports_when_a_model_is_read(tmp_path: Path) -> None:
    for model, domains in (
        (text_classifier(), {"", "ai.onnx.contrib"}),
        (image_classifier(), {"", "com.microsoft.extensions"}),
        (_plain(np.zeros(3, np.float32)), {""}),
    ):
        onnx.save(model, tmp_path / "model.onnx")
        assert imported_domains(tmp_path / "model.onnx") == domains
        assert imported_domains(model.SerializeToString()) == domains
        assert custom_operators(tmp_path / "model.onnx") == (find_extensions() if len(domains) > 1 else "")


def test_domains_of_functions_count_when_a_model_has_functions() -> None:
    model = _plain(np.zeros(3, np.float32))
    imports = [helper.make_opsetid("ai.onnx.contrib", 1)]
    model.functions.append(helper.make_function("mine", "F", ["a"], ["b"], [], imports))
    assert imported_domains(model.SerializeToString()) == {"", "ai.onnx.contrib"}


def test_weights_do_not_count_when_they_have_the_bytes_of_an_import() -> None:
    bytes_of_import = helper.make_opsetid("ai.onnx.contrib", 1).SerializeToString()
    field = b"\x42" + bytes([len(bytes_of_import)]) + bytes_of_import
    field += b"\0" * (-len(field) % 4)
    model = _plain(np.frombuffer(field * 3, np.float32))
    assert field in model.SerializeToString()
    assert custom_operators(model.SerializeToString()) == ""


@given(st.binary(max_size=200), st.integers(0, 400))
def test_domains_are_some_or_none_when_a_file_is_damaged(junk: bytes, cut: int) -> None:
    whole = image_classifier().SerializeToString()
    assert imported_domains(whole[-cut:] + junk) is not None
    assert imported_domains(junk) is not None


def test_package_is_named_when_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text" / "1").mkdir(parents=True)
    path = tmp_path / "text" / "1" / "model.onnx"
    onnx.save(text_classifier(), path)
    monkeypatch.setattr(operators, "find_extensions", lambda: None)
    told = r"has operators of 'ai\.onnx\.contrib', .* pip install 'falaj\[extensions\]'"
    with pytest.raises(falaj.Unsupported, match=told):
        load_onnx(path)
    with pytest.raises(falaj.Unavailable, match=f"model 'text' was not loaded: .* {told}"):
        falaj.Engine(tmp_path, cores=1, strict=True).close()


def test_library_is_left_alone_when_a_model_does_not_need_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx.save(_plain(np.ones(3, np.float32)), tmp_path / "model.onnx")
    monkeypatch.setattr(operators, "find_extensions", lambda: "/nowhere.so")
    answer = load_onnx(tmp_path / "model.onnx").run({"x": np.ones((2, 3), np.float32)}, _as_given)
    assert answer["y"].tolist() == [[2.0] * 3] * 2


@pytest.mark.parametrize("library", ["/nowhere.so", "onnxruntime"])
def test_reason_is_told_when_the_library_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    from falaj.training.onnxruntime_library import find_onnxruntime

    onnx.save(text_classifier(), tmp_path / "model.onnx")
    path = find_onnxruntime() if library == "onnxruntime" else library
    monkeypatch.setattr(operators, "find_extensions", lambda: path)
    with pytest.raises(falaj.Unsupported, match=r"could not be opened|has no custom operators"):
        load_onnx(tmp_path / "model.onnx")


def _as_given(value: object, _datatype: str) -> np.ndarray:
    return np.asarray(value)


def test_models_are_right_when_they_are_loaded_at_the_same_time(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from tests.extensions import images

    onnx.save(image_classifier(), tmp_path / "image.onnx")
    onnx.save(text_classifier(), tmp_path / "text.onnx")
    image = images.as_array(images.picture(3))

    def load_and_run(turn: int) -> bytes:
        if turn % 2:
            load_onnx(tmp_path / "text.onnx")
        with pytest.raises(falaj.InvalidInput):
            load_onnx(tmp_path / "image.onnx").run({"image": image[:50]}, _as_given)
        return load_onnx(tmp_path / "image.onnx").run({"image": image}, _as_given)["score"].tobytes()

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(load_and_run, range(16)))) == 1


def test_candidate_answers_as_the_server_would_when_it_has_custom_operators(tmp_path: Path) -> None:
    from falaj.training.optimize.candidate import open_candidate
    from falaj.training.optimize.rows import signature_of
    from falaj.training.optimize.trial import try_apart
    from tests.extensions import texts

    onnx.save(text_classifier(), tmp_path / "model.onnx")
    rows = {"text": np.array([b"a good day", b"bad"], dtype=object)}
    assert signature_of(tmp_path / "model.onnx", None).inputs == (("text", "BYTES", (-1,)),)
    try_apart(tmp_path / "model.onnx", rows, tmp_path)
    score = open_candidate(tmp_path / "model.onnx", tmp_path / "opened").answers(rows)["score"]
    np.testing.assert_allclose(score[0], texts.scores_of("a good day"), rtol=1e-5)

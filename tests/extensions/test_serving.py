"""Models with custom operators behind a server: text in, label out; JPEG in, label out; reload; bad bytes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from tests.extensions import images, texts
from tests.extensions.repository import add_models, add_version
from tests.server.serving_process import Serving

CLIENTS = {"http": tritonclient.http, "grpc": tritonclient.grpc}


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("serving")
    add_models(folder / "models")
    with Serving(folder) as serving:
        yield serving


def _infer(serving: Serving, transport: str, model: str, name: str, array: np.ndarray, datatype: str) -> Any:
    module = CLIENTS[transport]
    with module.InferenceServerClient(f"127.0.0.1:{serving.ready[transport]}") as client:
        tensor = module.InferInput(name, list(array.shape), datatype)
        tensor.set_data_from_numpy(array)
        return client.infer(model, [tensor])


def _text(serving: Serving, transport: str, *rows: bytes) -> Any:
    return _infer(serving, transport, "text", "text", np.array(rows, dtype=object), "BYTES")


def _image(serving: Serving, transport: str, image: bytes, model: str = "image") -> Any:
    array = images.as_array(image)
    return _infer(serving, transport, model, "image", array[None] if model == "images" else array, "UINT8")


@pytest.mark.parametrize("transport", sorted(CLIENTS))
def test_labels_come_back_when_texts_are_sent(serving: Serving, transport: str) -> None:
    rows = ("a good day", "", "so bad, bad", "فلج")
    answer = _text(serving, transport, *(row.encode() for row in rows))
    expected = np.stack([texts.scores_of(row) for row in rows])
    np.testing.assert_allclose(answer.as_numpy("score"), expected, rtol=1e-5, atol=1e-6)
    assert answer.as_numpy("label").tolist() == [texts.LABELS[place] for place in expected.argmax(axis=1)]


def test_label_comes_back_when_a_text_is_sent_as_json(serving: Serving) -> None:
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a good day"]}
    status, _, answer = serving.ask("POST", "/v2/models/text/infer", {"inputs": [tensor]})
    outputs = {output["name"]: output["data"] for output in json.loads(answer)["outputs"]}
    place = int(texts.scores_of("a good day").argmax())
    assert (status, outputs["label"]) == (200, [texts.LABELS[place].decode()])


@pytest.mark.parametrize("transport", sorted(CLIENTS))
@pytest.mark.parametrize("model", ["image", "images"])
def test_labels_come_back_when_jpegs_are_sent(serving: Serving, transport: str, model: str) -> None:
    for seed in range(4):
        picture = images.picture(seed, quality=95, subsampling=0)
        answer, expected = _image(serving, transport, picture, model), images.scores_of(picture)
        np.testing.assert_allclose(answer.as_numpy("score")[0], expected, atol=20)
        assert answer.as_numpy("label").tolist() == [images.LABELS[int(expected.argmax())]]


@pytest.mark.parametrize(("transport", "status"), [("http", "400"), ("grpc", "StatusCode.INVALID_ARGUMENT")])
@pytest.mark.parametrize("model", ["image", "images"])
def test_request_is_invalid_when_its_image_is_hostile(
    serving: Serving, transport: str, status: str, model: str
) -> None:
    for what, image in images.hostile().items():
        with pytest.raises(InferenceServerException) as refused:
            _image(serving, transport, image, model)
        assert refused.value.status() == status, f"{what}: {refused.value}"
    assert not serving.has_ended()
    assert _image(serving, transport, images.picture(2), model).as_numpy("label").shape == (1,)


@pytest.mark.parametrize("transport", sorted(CLIENTS))
def test_request_is_answered_or_invalid_when_its_text_is_not_utf8(serving: Serving, transport: str) -> None:
    for text in (b"\xff\xfe", b"\xc3", b"good\xf0\x9f", b"\xed\xa0\x80", b""):
        answer = _text(serving, transport, text)
        assert np.isfinite(answer.as_numpy("score")).all()


def test_new_version_answers_when_the_model_is_reloaded(tmp_path: Path) -> None:
    models = add_models(tmp_path / "models")
    with Serving(tmp_path) as serving:
        assert _text(serving, "http", b"bad").get_response()["model_version"] == "1"
        changed = texts.text_classifier()
        for initializer in changed.graph.initializer:
            if initializer.name == "labels":
                initializer.string_data[:] = [b"schlecht", b"gut"]
        add_version(models, "text", changed, 2)
        assert serving.ask("POST", "/v2/repository/models/text/load")[0] == 200
        answer = _text(serving, "grpc", b"a good day")
        place = int(texts.scores_of("a good day").argmax())
        assert answer.as_numpy("label").tolist() == [(b"schlecht", b"gut")[place]]
        assert answer.get_response().model_version == "2"

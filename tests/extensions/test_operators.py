"""Models with operators of onnxruntime-extensions in process: answers as Python's own, and hostile bytes."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import falaj
from tests.extensions import images, texts
from tests.extensions.repository import add_models
from tests.serving import assert_clean, run_script

TEXTS = ("a good day", "bad", "", " good  bad\n\t12 x_y! é فلج 🌴", "so bad, bad", "good" * 500)
NOT_UTF8 = (b"\xff\xfe", b"\xc3", b"\x80" * 100, b"good\xf0\x9f", b"\xed\xa0\x80", b"\0", b"a\0b")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[falaj.Engine]:
    with falaj.Engine(add_models(tmp_path_factory.mktemp("models")), cores=2, strict=True) as engine:
        yield engine


@pytest.mark.core
def test_texts_are_scored_as_by_numpy_when_the_tokeniser_is_in_the_graph(engine: falaj.Engine) -> None:
    rows = np.array([text.encode() for text in TEXTS], dtype=object)
    answer = engine.infer("text", {"text": rows})
    expected = np.stack([texts.scores_of(text) for text in TEXTS])
    np.testing.assert_allclose(answer["score"], expected, rtol=1e-5, atol=1e-6)
    assert answer["label"].tolist() == [texts.LABELS[place] for place in expected.argmax(axis=1)]


@pytest.mark.core
def test_texts_of_several_requests_share_a_batch_when_they_wait_together(engine: falaj.Engine) -> None:
    before = engine.stats("text")[0]
    requests = [{"text": np.array([text.encode()], dtype=object)} for text in TEXTS * 5]
    for text, answer in zip(TEXTS * 5, engine.infer_many("text", requests), strict=True):
        np.testing.assert_allclose(answer["score"][0], texts.scores_of(text), rtol=1e-5, atol=1e-6)
    after = engine.stats("text")[0]
    assert after["batches"] - before["batches"] < after["rows"] - before["rows"] == len(requests)


@pytest.mark.core
@pytest.mark.parametrize("text", NOT_UTF8)
def test_text_is_answered_or_refused_when_it_is_not_utf8(engine: falaj.Engine, text: bytes) -> None:
    rows = [{"text": np.array([each], dtype=object)} for each in (b"a good day", text, b"bad")]
    first, odd, last = engine.infer_many("text", rows, return_exceptions=True)
    np.testing.assert_allclose(first["score"][0], texts.scores_of("a good day"), rtol=1e-5)
    np.testing.assert_allclose(last["score"][0], texts.scores_of("bad"), rtol=1e-5)
    assert isinstance(odd, falaj.InvalidInput) or np.isfinite(odd["score"]).all()


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_images_are_scored_as_by_pillow_when_the_decoder_is_in_the_graph(
    engine: falaj.Engine, form: str
) -> None:
    # Colours in full resolution: how those of less are widened differs between the decoders.
    pictures = [images.picture(seed, form, **_exact(form)) for seed in range(6)]
    for picture in pictures:
        answer = engine.infer("image", {"image": images.as_array(picture)})
        expected = images.scores_of(picture)
        np.testing.assert_allclose(answer["score"][0], expected, atol=20)  # one step of a few pixels
        assert answer["label"].tolist() == [images.LABELS[int(expected.argmax())]]


def _exact(form: str) -> dict[str, object]:
    return {"quality": 95, "subsampling": 0} if form == "JPEG" else {}


def test_images_share_a_batch_when_their_bytes_are_padded(engine: falaj.Engine) -> None:
    pictures = [images.picture(seed) for seed in range(16)]
    alone = [engine.infer("image", {"image": images.as_array(each)})["score"] for each in pictures]
    before = engine.stats("images")[0]
    together = engine.infer_many("images", [{"image": images.as_array(each)[None]} for each in pictures])
    after = engine.stats("images")[0]
    for one, answer in zip(alone, together, strict=True):
        np.testing.assert_allclose(answer["score"], one, rtol=1e-4, atol=1e-2)
    assert after["batches"] - before["batches"] < len(pictures)


@pytest.mark.core
@pytest.mark.parametrize("model", ["image", "images"])
@pytest.mark.parametrize("what", sorted(images.hostile()))
def test_only_its_own_request_is_refused_when_an_image_is_hostile(
    engine: falaj.Engine, model: str, what: str
) -> None:
    good = images.sample("blobs.jpg")
    expected = engine.infer("image", {"image": images.as_array(good)})["score"]
    arrays = [images.as_array(each) for each in (good, images.hostile()[what], good)]
    requests = [{"image": each[None] if model == "images" else each} for each in arrays]
    first, refused, last = engine.infer_many(model, requests, return_exceptions=True)
    assert isinstance(refused, falaj.InvalidInput), refused
    np.testing.assert_allclose(first["score"], expected, rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(last["score"], expected, rtol=1e-4, atol=1e-2)


@pytest.mark.core
def test_reason_is_told_when_an_image_is_refused(engine: falaj.Engine) -> None:
    told = {
        "cut in its pixels": r"model 'image' version 1: .* a JPEG of \d+ bytes is cut short in its pixels",
        "no image": "a custom operator of the model cannot read its input: Not a JPEG file: starts with 0x68",
        "huge": "the input makes a tensor of 12870750208 bytes, expected at most 2147483648",
        "huge and progressive": "Insufficient memory",
    }
    for what, pattern in told.items():
        with pytest.raises(falaj.InvalidInput, match=pattern):
            engine.infer("image", {"image": images.as_array(images.hostile()[what])})


@pytest.mark.core
def test_nothing_is_written_and_the_process_lives_when_images_are_damaged_at_random(tmp_path: Path) -> None:
    add_models(tmp_path)
    done = run_script(
        """
        import sys
        from collections import Counter

        import numpy as np

        import falaj

        generator, told = np.random.default_rng(11), Counter()
        bases = [np.fromfile(path, np.uint8) for path in sys.argv[2:]]
        with falaj.Engine(sys.argv[1], cores=1, strict=True) as engine:
            for turn in range(600):
                damaged = bases[turn % 3].copy()
                places = generator.integers(0, min(len(damaged), 700), size=turn % 7 + 1)
                damaged[places] = generator.choice([0, 1, 0xFF, 0xD9, 0xDA, 0xC4], size=len(places))
                cut = len(damaged) if turn % 2 else int(generator.integers(1, len(damaged)))
                try:
                    engine.infer("image", {"image": damaged[:cut]})
                    told["answered"] += 1
                except falaj.InvalidInput:
                    told["refused"] += 1
        assert told["answered"] > 20 and told["refused"] > 200, told
        """,
        tmp_path,
        *(images.SAMPLES / name for name in ("blobs.jpg", "progressive.jpg", "squares.png")),
    )
    assert_clean(done)


@pytest.mark.parametrize("first", ["onnxruntime", "falaj"])
def test_answers_are_the_same_when_python_has_an_onnxruntime_of_its_own(tmp_path: Path, first: str) -> None:
    add_models(tmp_path)
    done = run_script(
        """
        import sys

        import numpy as np

        import falaj
        from tests.extensions import images

        image = images.as_array(images.picture(4))

        def beside():
            import onnxruntime
            import onnxruntime_extensions

            from falaj.training.custom_operators import find_extensions

            assert find_extensions() == onnxruntime_extensions.get_library_path()
            options = onnxruntime.SessionOptions()
            options.register_custom_ops_library(onnxruntime_extensions.get_library_path())
            model = images.image_classifier().SerializeToString()
            return onnxruntime.InferenceSession(model, options)

        session = beside() if sys.argv[2] == "onnxruntime" else None
        with falaj.Engine(sys.argv[1], cores=1, strict=True) as engine:
            ours = engine.infer("image", {"image": image})["score"]
            session = session or beside()
            theirs = session.run(["score"], {"image": image})[0]
            again = engine.infer("image", {"image": image})["score"]
        assert np.array_equal(ours, theirs) and np.array_equal(ours, again)
        """,
        tmp_path,
        first,
    )
    assert_clean(done)

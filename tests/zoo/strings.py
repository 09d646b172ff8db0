"""Models over BYTES: strings in, strings or numbers out."""

import numpy as np
from onnx import helper

from tests.zoo.model import Arrays, ZooModel, build, sampler, value

VOCABULARY = ("", "a", "falaj", "two words", "é", "فلج", "水路", "🌴")
UNKNOWN_ID = -1


def tokens() -> ZooModel:
    """Build `text` BYTES [batch, 3] -> `same`, `twice` (`text` beside itself), `suffixed` (each + "·é")."""
    nodes = [
        helper.make_node("Identity", ["text"], ["same"]),
        helper.make_node("Concat", ["text", "text"], ["twice"], axis=-1),
        helper.make_node("StringConcat", ["text", "suffix"], ["suffixed"]),
    ]
    widths = {"same": 3, "twice": 6, "suffixed": 3}
    outputs = [value(name, "BYTES", ["batch", width]) for name, width in widths.items()]
    suffix = {"suffix": np.array(["·é"], dtype=np.object_)}
    proto = build("tokens", nodes, [value("text", "BYTES", ["batch", 3])], outputs, suffix)
    return ZooModel("tokens", proto, sampler({"text": ("BYTES", (3,))}), batchable=True)


def tokens_to_ids() -> ZooModel:
    """Build `token` BYTES [batch, 2] -> `id` INT64 [batch, 2] and `next` BYTES [batch, 2].

    `id` is the word's place in VOCABULARY or -1, `next` the following word of VOCABULARY or b"?".
    """
    words = list(VOCABULARY)
    nodes = [
        helper.make_node(
            "LabelEncoder",
            ["token"],
            ["id"],
            domain="ai.onnx.ml",
            keys_strings=words,
            values_int64s=list(range(len(words))),
            default_int64=UNKNOWN_ID,
        ),
        helper.make_node(
            "LabelEncoder",
            ["token"],
            ["next"],
            domain="ai.onnx.ml",
            keys_strings=words,
            values_strings=words[1:] + words[:1],
            default_string="?",
        ),
    ]
    outputs = [value("id", "INT64", ["batch", 2]), value("next", "BYTES", ["batch", 2])]
    proto = build("tokens_to_ids", nodes, [value("token", "BYTES", ["batch", 2])], outputs, ml_opset=3)
    return ZooModel(
        "tokens_to_ids", proto, _sample_words, batchable=True, notes="a quarter of the sample is unknown"
    )


def _sample_words(rng: np.random.Generator, rows: int) -> Arrays:
    array = np.empty((rows, 2), dtype=np.object_)
    for index in np.ndindex(array.shape):
        known = rng.random() < 0.75
        array[index] = (VOCABULARY[int(rng.integers(len(VOCABULARY)))] if known else "zzz").encode()
    return {"token": array}

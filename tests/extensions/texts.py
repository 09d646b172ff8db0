"""A classifier of texts whose graph begins with a byte-pair tokeniser, and the same in Python."""

import json
import re
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

MERGES = ("Ġ g", "Ġg o", "Ġgo o", "Ġgoo d", "Ġ b", "Ġb a", "Ġba d")
LABELS = (b"bad", b"good")


def characters_of_bytes() -> dict[int, str]:
    """The printable character that stands for each byte in GPT-2's vocabularies."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}


def vocabulary() -> dict[str, int]:
    """All bytes, and what the merges make of them."""
    pieces = [*characters_of_bytes().values(), *(merge.replace(" ", "") for merge in MERGES)]
    return {piece: place for place, piece in enumerate(pieces)}


def weights() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Of each token [tokens, 4], and from these to the labels [4, 2]."""
    generator = np.random.default_rng(7)
    tokens = generator.standard_normal((len(vocabulary()), 4), dtype=np.float32)
    return tokens, generator.standard_normal((4, len(LABELS)), dtype=np.float32)


def text_classifier() -> onnx.ModelProto:
    """Build `text` BYTES [rows] -> `label` BYTES [rows], `score` FP32 [rows, 2]."""
    tokens, classes = weights()
    nodes = [
        helper.make_node(
            "GPT2Tokenizer",
            ["text"],
            ["ids", "mask"],
            domain="ai.onnx.contrib",
            vocab=json.dumps(vocabulary(), ensure_ascii=False),
            merges="#version: 0.2\n" + "\n".join(MERGES) + "\n",
            padding_length=-1,
        ),
        helper.make_node("Gather", ["tokens", "ids"], ["each"]),
        helper.make_node("Cast", ["mask"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["real", "last"], ["real_column"]),
        helper.make_node("Mul", ["each", "real_column"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "first"], ["sum"], keepdims=0),
        helper.make_node("ReduceSum", ["real", "first"], ["count"], keepdims=1),
        helper.make_node("Max", ["count", "one"], ["divisor"]),  # of an empty text there is nothing to divide
        helper.make_node("Div", ["sum", "divisor"], ["mean"]),
        helper.make_node("MatMul", ["mean", "classes"], ["score"]),
        helper.make_node("ArgMax", ["score"], ["place"], axis=1, keepdims=0),
        helper.make_node("Gather", ["labels", "place"], ["label"]),
    ]
    constants = {
        "tokens": tokens,
        "classes": classes,
        "last": np.array([-1]),
        "first": np.array([1]),
        "one": np.ones(1, np.float32),
    }
    labels = helper.make_tensor("labels", TensorProto.STRING, [len(LABELS)], list(LABELS))
    initializers = [*(numpy_helper.from_array(array, name) for name, array in constants.items()), labels]
    text = helper.make_tensor_value_info("text", TensorProto.STRING, ["rows"])
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.STRING, ["rows"]),
        helper.make_tensor_value_info("score", TensorProto.FLOAT, ["rows", len(LABELS)]),
    ]
    graph = helper.make_graph(nodes, "texts", [text], outputs, initializers)
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.contrib", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=9)


def tokens_of(text: str) -> list[int]:
    """What the tokeniser makes of a text: words with the space before them, then pairs by rank."""
    ranks = {tuple(merge.split(" ")): rank for rank, merge in enumerate(MERGES)}
    known, characters = vocabulary(), characters_of_bytes()
    ids = []
    for word in re.findall(r" ?[^\W\d_]+| ?\d+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+", text):
        pieces = [characters[byte] for byte in word.encode()]
        while True:
            pairs = [(ranks[pair], at) for at, pair in enumerate(pairwise(pieces)) if pair in ranks]
            if not pairs:
                break
            at = min(pairs)[1]
            pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]
        ids += [known[piece] for piece in pieces]
    return ids


def scores_of(text: str) -> npt.NDArray[np.float32]:
    """The score of each label for a text, by NumPy."""
    tokens, classes = weights()
    ids = tokens_of(text)
    mean = tokens[ids].sum(axis=0) / max(len(ids), 1)
    return mean @ classes

"""Scikit-learn's counting of words as nodes of a graph."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import TensorProto

from falaj.training.errors import TrainingError
from falaj.training.graph.graph import Growth
from falaj.training.graph.sklearn_frame import Frame, Part, matrix, single, width
from falaj.training.graph.sklearn_numbers import Transform, normalized

_PATTERN = r"(?u)\b\w\w+\b"
# The same of letters, digits and _, in the syntax of the runtime's tokenizer, whose \w is ASCII only.
_TOKENS = r"[\p{L}\p{N}_][\p{L}\p{N}_]+"
_LOCALE = "C.UTF-8"  # part of glibc; en_US, the default of StringNormalizer, has to be installed
_PAD = "\0"


def _count(grow: Growth, of: Any, frame: Frame) -> Frame:
    counts = _counts(grow, of, frame)
    return (Part(counts, len(of.vocabulary_)),)


def _tfidf(grow: Growth, of: Any, frame: Frame) -> Frame:
    counts = Part(_counts(grow, of, frame), len(of.vocabulary_))
    return _weigh(grow, of._tfidf, (counts,))


def _weigh(grow: Growth, of: Any, frame: Frame) -> Frame:
    """TfidfTransformer: counts times how rare each term is, each row of length 1."""
    x = matrix(grow, frame, "TfidfTransformer")
    one = grow.constant(1.0, np.float64)
    if of.sublinear_tf:
        some = grow.node("Greater", x, grow.constant(0.0, np.float64))
        logs = grow.node("Add", one, grow.node("Log", grow.node("Where", some, x, one)))
        x = grow.node("Where", some, logs, x)
    if of.use_idf:
        x = grow.node("Mul", x, grow.constant(of.idf_, np.float64))
    if of.norm is None:
        return (Part(x, width(frame)),)
    return (Part(normalized(grow, x, of.norm), width(frame)),)


def _counts(grow: Growth, of: Any, frame: Frame) -> str:
    """Add the counts of each term of the vocabulary; return them, FP64 [rows, terms].

    Letters become small one by one, as C does it: a capital sigma that ends a word becomes another small one
    than in Python.
    """
    _check(of)
    columns = single(grow, frame)
    if len(columns) != 1 or not columns[0].text:
        raise TrainingError(f"{type(of).__name__}: expected one column of text")
    flat = grow.node("Reshape", columns[0].tensor, grow.constant([-1], np.int64))
    # Of no text at all the normalizer makes an error: so there is one more, which is taken away again.
    text = grow.node("Concat", flat, grow.constant([""], np.object_), axis=0)
    if of.lowercase:
        text = grow.node(
            "StringNormalizer", text, case_change_action="LOWER", is_case_sensitive=1, locale=_LOCALE
        )
    tokens = grow.node(
        "Tokenizer",
        text,
        domain="com.microsoft",
        mark=0,
        mincharnum=1,
        pad_value=_PAD,
        tokenexp=_TOKENS,
    )
    counts = grow.node("TfIdfVectorizer", tokens, mode="TF", **_vocabulary(of))
    ends = (grow.constant([at], np.int64) for at in (0, -1, 0))
    counts = grow.node("Cast", grow.node("Slice", counts, *ends), to=TensorProto.DOUBLE)
    if of.binary:
        some = grow.node("Greater", counts, grow.constant(0.0, np.float64))
        counts = grow.node("Cast", some, to=TensorProto.DOUBLE)
    return counts


def _vocabulary(of: Any) -> dict[str, Any]:
    """Return the terms, the shorter first, and the column of each."""
    longest = of.ngram_range[1]
    by_length: list[list[tuple[str, int]]] = [[] for _ in range(longest)]
    for term, column in of.vocabulary_.items():
        by_length[term.count(" ")].append((term, int(column)))
    pool: list[str] = []
    starts: list[int] = []
    for terms in by_length:
        starts.append(len(pool))
        pool += [word for term, _ in terms for word in term.split(" ")]
    return {
        "pool_strings": pool,
        "ngram_counts": starts,
        "ngram_indexes": [column for terms in by_length for _, column in terms],
        "min_gram_length": of.ngram_range[0],
        "max_gram_length": longest,
        "max_skip_count": 0,
    }


def _check(of: Any) -> None:
    where = type(of).__name__
    wrong = {
        "analyzer": of.analyzer != "word",
        "tokenizer": of.tokenizer is not None,
        "preprocessor": of.preprocessor is not None,
        "strip_accents": of.strip_accents is not None,
        "token_pattern": of.token_pattern != _PATTERN,
        # Without them, words that they part are neighbours.
        "stop_words": of.stop_words is not None and of.ngram_range[1] > 1,
    }
    for name, is_wrong in wrong.items():
        if is_wrong:
            raise TrainingError(
                f"{where}: {name}: expected words of scikit-learn's own pattern, got {getattr(of, name)!r}"
            )


# By the name of the class.
TEXT: Mapping[str, Transform] = {
    "CountVectorizer": _count,
    "TfidfVectorizer": _tfidf,
    "TfidfTransformer": _weigh,
}

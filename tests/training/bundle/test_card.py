"""Model cards: what they tell, that nothing in them is taken for markup, and that they need no network."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from falaj.features import Tags
from falaj.features.binding import Binding, BoundInput, BoundView, Feature, RequestValue
from falaj.features.file_seen import FileSeen
from falaj.training.bundle.baseline import baseline_of
from falaj.training.bundle.bundle import CardText
from falaj.training.bundle.card import Card, Steward, card_text
from falaj.training.bundle.card_plots import roc_curve, wilson
from falaj.training.bundle.document import Heading, Items, Paragraph, Picture, Table, as_html, as_markdown
from falaj.training.bundle.evaluation import Asked, evaluate, predicted_of
from falaj.training.bundle.importance import Importance, importance_of
from falaj.training.bundle.snapshot import Snapshot
from falaj.training.errors import TrainingError
from falaj.training.fit.metrics import Predicted
from falaj.training.original import Arrays, ModelInput, ModelOutput, Original
from tests.server.joined_model import account
from tests.training.graph.fitted import Fitted, tumours

EVIL = '<script>alert("x")</script> $\\frac & | `b` [a](http://evil.example) دبي\n# no heading'


class Page(HTMLParser):
    """The tags of a page, what they refer to, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [str(value) for name, value in attrs if name in ("src", "href", "srcset", "data")]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def card_of(fitted: Fitted, **more: Any) -> Card:
    target = fitted.held_target
    months = np.array([f"2013-{1 + i % 6:02}" for i in range(len(target))], object)
    segments = {"clinic $": np.array([["a|b", "", EVIL][i % 3] for i in range(len(target))], object)}
    asked = Asked("test", predicted_of(fitted.original, fitted.held, target), months, segments)
    given = {
        "name": "tumours",
        "original": fitted.original,
        "baseline": baseline_of(fitted.original, fitted.rows, fitted.original.predict(fitted.held)),
        "parity": ["passed: 400 rows"],
        "versions": {"falaj": "0"},
        "snapshot": Snapshot(
            (FileSeen(EVIL, 3, "ab" * 32),),
            400,
            "cd" * 32,
            "2013-01-01",
            "2013-06-30",
            {"train": {"rows": 400, "until": "2013-04-30"}, "test": {"rows": 169}},
        ),
        "evaluation": evaluate(asked),
        "importance": importance_of(fitted.original, fitted.held, target),
        "purpose": EVIL,
        "owner": "risk",
    }
    return Card(**{**given, **more})


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    return tumours()


@pytest.fixture(scope="module")
def card(fitted: Fitted) -> Card:
    return card_of(fitted)


@pytest.fixture(scope="module")
def text(card: Card) -> CardText:
    return card_text(card)


def test_page_refers_to_nothing_elsewhere_when_it_is_read(text: CardText) -> None:
    page = Page(text.html)
    assert page.references
    assert all(reference.startswith("data:image/png;base64,") for reference in page.references)
    assert "script" not in page.tags
    assert not {"link", "iframe", "object", "embed", "base"} & set(page.tags)
    assert "url(" not in text.html
    assert "@import" not in text.html


def test_page_has_names_as_they_are_when_they_look_like_markup(text: CardText) -> None:
    shown = " ".join(Page(text.html).texts)
    assert shown.count(" ".join(EVIL.split())) >= 3  # a path, the purpose, a segment's value
    assert not re.search(r"(?<!\\)[<$]", text.markdown)
    assert "\n# no heading" not in text.markdown


def test_card_tells_the_model_when_it_is_written(text: CardText, card: Card) -> None:
    assert card.evaluation is not None
    auc = card.evaluation.overall.metrics["auc"]
    assert None not in (auc.value, auc.low, auc.high)
    for part in (text.markdown.replace("\\", ""), " ".join(Page(text.html).texts)):
        assert f"{auc.value:.4g}" in part
        assert f"{auc.low:.4g} to {auc.high:.4g}" in part
        for told in ("radius", "2013-06-30", "ab" * 32, "cd" * 32, "tumours.joblib", "passed: 400 rows"):
            assert told in part
        for title in ("Data", "Quality", "Importance", "Parity", "Features", "Limits", "Versions"):
            assert title in part
    # ROC, calibration, log loss and AUC by month and by segment, importance
    assert text.html.count("<img") == 7
    assert text.markdown.count("](card.html)") == 7


def test_card_is_the_same_when_it_is_written_again(text: CardText, card: Card) -> None:
    assert card_text(card) == text


def test_card_says_so_when_nothing_was_measured(fitted: Fitted) -> None:
    bare = card_of(fitted, evaluation=None, importance=None, snapshot=None, purpose="", owner="")
    markdown = card_text(bare).markdown
    assert markdown.count("Not measured: nobody told what came of the rows") == 2
    assert "What it was fitted on was not told" in markdown
    assert "How good it is was not measured" in markdown


def test_card_names_views_and_their_stewards_when_features_are_looked_up(fitted: Fitted) -> None:
    columns = (Feature("account", "income"), RequestValue("texture", "FP32"), Feature("account", "visits"))
    binding = Binding((BoundView(account(), "nan"),), (BoundInput("x", columns),))
    steward = Steward("risk", Tags("credit scoring", "personal", "AE"))
    told = card_text(card_of(fitted, binding=binding, stewards={"account": steward})).markdown
    plain = told.replace("\\", "")
    for part in ("account@1", "customer_id", "income, visits", "nan", "risk", "credit scoring", "personal"):
        assert part in plain
    assert "Input x, from left to right: account__income, texture:FP32, account__visits." in plain


def _regression(count: int) -> tuple[Original, dict[str, NDArray[Any]], NDArray[np.float64]]:
    x = np.random.default_rng(0).normal(size=(count, 2)).astype(np.float32)

    def predict(inputs: Arrays) -> dict[str, NDArray[Any]]:
        return {"prediction": (2 * inputs["x"][:, :1]).astype(np.float32)}

    original = Original(
        family="sklearn",
        task="regression",
        inputs=(ModelInput("x", "FP32", (2,), ("told", "idle")),),
        outputs=(ModelOutput("prediction", "FP32", (1,), "value"),),
        model=None,
        predict=predict,
    )
    return original, {"x": x}, 2.0 * x[:, 0] + 0.1 * np.random.default_rng(1).normal(size=count)


def test_card_has_residuals_when_the_model_is_a_regression() -> None:
    original, rows, target = _regression(300)
    card = Card(
        name="line",
        original=original,
        baseline=baseline_of(original, rows, original.predict(rows)),
        parity=[],
        versions={},
        evaluation=evaluate(Asked("test", predicted_of(original, rows, target))),
        importance=importance_of(original, rows, target),
    )
    text = card_text(card)
    assert "What it said over what was true" in text.markdown
    assert "ROC" not in text.markdown
    assert text.html.count("<img") == 2


def test_card_has_a_curve_of_each_class_when_there_are_three() -> None:
    random = np.random.default_rng(0)
    scores = random.dirichlet([1, 1, 1], 200)
    x = random.normal(size=(200, 1)).astype(np.float32)
    outputs = {"label": np.array(["a", "b", "c"], object)[scores.argmax(1)], "p": scores.astype(np.float32)}
    original = Original(
        family="onnx",
        task="multiclass",
        inputs=(ModelInput("x", "FP32", (1,), ("x",)),),
        outputs=(ModelOutput("label", "BYTES", (), "label"), ModelOutput("p", "FP32", (3,), "scores")),
        model=None,
        predict=lambda _: outputs,
        classes=("a", "b", "c"),
    )
    target = np.array(["a", "b", "c"], object)[random.integers(3, size=200)]
    asked = Asked("all", predicted_of(original, {"x": x}, target))
    card = Card(
        name="three",
        original=original,
        baseline=baseline_of(original, {"x": x}, outputs),
        parity=[],
        versions={},
        evaluation=evaluate(asked),
    )
    assert card_text(card).html.count("<img") == 2


def test_curve_is_that_of_scikit_learn_when_scores_have_ties() -> None:
    from sklearn.metrics import roc_auc_score

    random = np.random.default_rng(0)
    scores, positive = random.integers(0, 50, 2_000) / 50, random.random(2_000) < 0.3
    false, true, area = roc_curve(scores, positive)
    assert area == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert (np.diff(false) >= 0).all()
    assert (np.diff(true) >= 0).all()


@given(st.integers(1, 10_000), st.data())
def test_interval_is_wilsons_when_a_share_is_told(rows: int, data: st.DataObject) -> None:
    from scipy.stats import binomtest

    hits = data.draw(st.integers(0, rows))
    expected = binomtest(hits, rows).proportion_ci(method="wilson")
    assert wilson(hits, rows) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_importance_is_of_the_column_that_tells_when_another_is_idle() -> None:
    original, rows, target = _regression(400)
    found = importance_of(original, rows, target)
    assert isinstance(found, Importance)
    assert list(found.columns) == ["told", "idle"]
    # Two draws of 2 z, z normal of variance 1, differ by 8 in the mean square.
    assert found.columns["told"][0] == pytest.approx(np.sqrt(8), rel=0.15)
    assert found.columns["idle"] == (0.0, 0.0)
    assert importance_of(original, rows, target) == found


def test_metrics_are_told_by_month_and_segment_when_rows_have_them(card: Card) -> None:
    assert card.evaluation is not None
    lines = card.evaluation.plain()
    assert {line["by"] for line in lines} == {None, "month", "clinic $"}
    assert sum(line["rows"] for line in lines if line["by"] == "month" and line["metric"] == "auc") == 169
    assert {line["of"] for line in lines if line["by"] == "clinic $"} == {"a|b", "(none)", EVIL}
    (auc,) = (line for line in lines if line["metric"] == "auc" and line["by"] is None)
    assert (auc["rows_of"], auc["rows"]) == ("test", 169)


def test_a_segment_has_its_rare_values_as_one_when_they_are_many() -> None:
    target = np.tile([0, 1], 200)
    scores = np.column_stack([1 - target * 0.5, target * 0.5])
    values = np.array([f"plane {i % 40}" for i in range(400)], object)
    found = evaluate(Asked("all", Predicted("binary", target, scores), segments={"plane": values}))
    assert len(found.segments["plane"]) == 20
    assert found.segments["plane"]["(others)"].rows == 210


def test_evaluation_is_refused_when_a_target_is_no_class(fitted: Fitted) -> None:
    target = np.full(len(fitted.held_target), 7)
    with pytest.raises(TrainingError, match="target: expected one of the classes 0, 1, got 7"):
        predicted_of(fitted.original, fitted.held, target)
    none = Asked("test", Predicted("binary", np.empty(0, np.int64), np.empty((0, 2))))
    with pytest.raises(TrainingError, match="evaluation: test: expected at least one row"):
        evaluate(none)


@given(st.text(), st.text(min_size=1))
def test_text_is_shown_as_it_is_when_it_is_any(one: str, other: str) -> None:
    blocks = [
        Heading(one),
        Paragraph(other),
        Items([one]),
        Table([one, "b"], [[other, one]], other),
        Picture(b"png", 10, one),
    ]
    page = Page(as_html(blocks, one))
    # fmt: off
    assert set(page.tags) == {
        "html", "meta", "title", "style", "body", "h2", "p", "ul", "li", "table", "caption", "thead", "tr",
        "th", "tbody", "td", "figure", "img", "figcaption",
    }
    # fmt: on
    assert [reference for reference in page.references if not reference.startswith("data:image/png")] == []
    lines = as_markdown(blocks, "card.html").split("\n")
    assert sum(line.startswith("| ") for line in lines) == 3


def test_plots_are_pictures_when_they_are_written(text: CardText, tmp_path: Path) -> None:
    from base64 import b64decode

    for encoded in re.findall(r"base64,([^\"]+)", text.html):
        png = b64decode(encoded)
        assert png[:8] == b"\x89PNG\r\n\x1a\n"
        assert len(png) > 3_000

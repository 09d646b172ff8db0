"""Pipelines that have a stateful model among their steps."""

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import falaj
from tests.engine.sequence_models import add_behind, add_by_row, add_sum
from tests.serving import add_python

pytestmark = pytest.mark.core


@pytest.fixture(params=["sum", "by_row"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[falaj.Engine]:
    """`piped`, of the strategy oldest or direct."""
    add_sum(tmp_path)
    add_by_row(tmp_path, slots=4)
    add_behind(tmp_path, "piped", request.param)
    with falaj.Engine(tmp_path, cores=2, strict=True) as engine:
        yield engine


def _ask(
    engine: falaj.Engine, x: float, id_: int | str = 0, *, start: bool = False, end: bool = False
) -> float:
    inputs = {"x": np.array([[x]], np.float32)}
    answer = engine.infer("piped", inputs, sequence_id=id_, sequence_start=start, sequence_end=end)
    return float(answer["y"].item())


def test_each_sequence_adds_up_when_all_of_its_requests_are_sent_at_once(engine: falaj.Engine) -> None:
    dice = random.Random(1)

    async def follow(id_: int) -> None:
        xs = [dice.randint(0, 99) for _ in range(dice.randint(1, 20))]
        answers = await asyncio.gather(
            *(
                engine.infer_async(
                    "piped",
                    {"x": np.array([[x + 0.25]], np.float32)},
                    sequence_id=id_,
                    sequence_start=i == 0,
                    sequence_end=i == len(xs) - 1,
                )
                for i, x in enumerate(xs)
            )
        )
        assert [answer["y"].item() for answer in answers] == np.cumsum(xs).tolist()

    async def follow_all() -> None:
        await asyncio.gather(*(follow(id_) for id_ in range(1, 65)))

    asyncio.run(follow_all())
    told = engine.stats("piped")[0]
    assert (told["sequences_live"], told["sequences_begun"]) == (0, 64)


def test_request_is_refused_as_by_the_model_itself_when_its_sequence_is_wrong(engine: falaj.Engine) -> None:
    with pytest.raises(falaj.InvalidInput, match="expected a sequence_id"):
        _ask(engine, 1)
    with pytest.raises(falaj.InvalidInput, match="sequence 7 is not under way"):
        _ask(engine, 1, 7)
    with pytest.raises(falaj.InvalidInput, match="expected 1 row"):
        engine.infer("piped", {"x": np.zeros((2, 1), np.float32)}, sequence_id=7, sequence_start=True)
    assert _ask(engine, 1, 7, start=True, end=True) == 1


def test_sequence_goes_on_when_its_model_and_the_pipeline_are_reloaded(tmp_path: Path) -> None:
    add_sum(tmp_path)
    add_behind(tmp_path, "piped", "sum")
    with falaj.Engine(tmp_path, cores=2, strict=True) as engine:
        assert _ask(engine, 1, 1, start=True) == 1
        for n, model in enumerate(("sum", "piped", "whole", "sum")):
            (tmp_path / model / "model.toml").touch()
            engine.reload(model)
            assert _ask(engine, 1, 1) == n + 2
            assert _ask(engine, 10, n + 2, start=True, end=True) == 10
        assert _ask(engine, 1, 1, end=True) == 6
        with pytest.raises(falaj.InvalidInput, match="sequence 1 is not under way"):
            _ask(engine, 1, 1)


def test_bounds_are_the_least_of_its_models_when_they_differ(tmp_path: Path) -> None:
    add_sum(tmp_path, sequence="max_sequences = 2\nidle_timeout_ms = 600000")
    add_behind(tmp_path, "piped", "sum")
    with falaj.Engine(tmp_path, cores=2, strict=True) as engine:
        _ask(engine, 1, 1, start=True)
        _ask(engine, 1, 2, start=True)
        with pytest.raises(falaj.Unavailable, match=r"'piped'.*2 sequences are live, and max_sequences is 2"):
            _ask(engine, 1, 3, start=True)
        _ask(engine, 1, 2, end=True)
        assert _ask(engine, 5, 3, start=True) == 5


def test_pipeline_is_out_of_service_when_its_model_begins_to_keep_sequences(tmp_path: Path) -> None:
    add_python(tmp_path, "later")
    add_behind(tmp_path, "piped", "later")
    with falaj.Engine(tmp_path, cores=2, strict=True) as engine:
        assert _ask(engine, 3) == 3
        with pytest.raises(falaj.InvalidInput, match="'piped' version 1 keeps no sequences"):
            _ask(engine, 3, 1, start=True)
        add_by_row(tmp_path, "later")
        engine.reload("later")
        with pytest.raises(falaj.Unavailable, match="one keeps sequences now, or none does any more"):
            _ask(engine, 3, 1, start=True)
        engine.reload("piped")
        assert [_ask(engine, 3, 1, start=True), _ask(engine, 3, 1)] == [3, 6]

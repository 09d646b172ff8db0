"""Stateful models: sequences in process."""

import asyncio
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import falaj
from tests.engine.sequence_models import Floats, add_by_row, add_growing, add_lstm, add_sum, lstm_model
from tests.serving import QUICK, add_model, x_of
from tests.zoo import mlp

pytestmark = pytest.mark.core


def _ask(engine: falaj.Engine, model: str, x: float, id_: int | str, **flags: Any) -> float:
    return float(engine.infer(model, x_of(x), sequence_id=id_, **flags)["y"].item())


def test_sequences_keep_their_own_sums_when_they_are_interleaved(tmp_path: Path) -> None:
    add_sum(tmp_path)
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine:
        described = engine.describe("sum")
        assert [tensor["name"] for tensor in described["inputs"]] == ["x"]
        assert [tensor["name"] for tensor in described["outputs"]] == ["y", "told"]
        assert _ask(engine, "sum", 1, 7, sequence_start=True) == 1
        assert _ask(engine, "sum", 10, 8, sequence_start=True) == 10
        assert _ask(engine, "sum", 2, 7) == 3
        assert _ask(engine, "sum", 20, 8, sequence_end=True) == 30
        assert _ask(engine, "sum", 4, 7, sequence_end=True) == 7
        stats = engine.stats("sum")[0]
    assert (stats["sequences_begun"], stats["sequences_live"]) == (2, 0)


def test_control_tensors_tell_of_the_sequence_when_the_model_has_them(tmp_path: Path) -> None:
    add_sum(tmp_path)
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine:
        told = [
            engine.infer("sum", x_of(0), sequence_id=7, sequence_start=start, sequence_end=end)[
                "told"
            ].tolist()
            for start, end in ((True, False), (False, False), (False, True), (True, True))
        ]
    assert told == [[[1, 0, 1, 7]], [[0, 0, 1, 7]], [[0, 1, 1, 7]], [[1, 1, 1, 7]]]


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        ({}, "model 'sum' version 1: expected a sequence_id"),
        ({"sequence_start": True}, "expected a sequence_id"),
        ({"sequence_id": 7}, "sequence 7 is not under way: it was not begun"),
        ({"sequence_id": "", "sequence_start": True}, "expected a sequence_id"),
        (
            {"sequence_id": "tram", "sequence_start": True},
            "sequence_id 'tram': the model takes ids of type UINT64",
        ),
        (
            {"sequence_id": -1, "sequence_start": True},
            "expected a whole number of 0 or more, or a str, got -1",
        ),
        ({"sequence_id": 2**64, "sequence_start": True}, "got 18446744073709551616"),
        ({"sequence_id": 1.5, "sequence_start": True}, "got 1.5"),
    ],
)
def test_request_is_refused_when_its_sequence_is_wrong(
    tmp_path: Path, flags: dict[str, Any], why: str
) -> None:
    add_sum(tmp_path)
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine:
        with pytest.raises(falaj.InvalidInput, match=why):
            engine.infer("sum", x_of(1), **flags)
        assert _ask(engine, "sum", 5, 2**64 - 1, sequence_start=True, sequence_end=True) == 5


def test_request_is_refused_when_it_has_several_rows_or_its_model_keeps_no_sequences(tmp_path: Path) -> None:
    add_sum(tmp_path, head="max_batch_size = 8")
    add_model(tmp_path, mlp(), QUICK)
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine:
        with pytest.raises(
            falaj.InvalidInput, match="expected 1 row, as each request of a sequence has; got 2"
        ):
            engine.infer("sum", x_of(1, 2), sequence_id=1, sequence_start=True)
        x = {"x": np.zeros((1, 32), np.float32)}
        with pytest.raises(falaj.InvalidInput, match="version 1 keeps no sequences"):
            engine.infer(mlp().name, x, sequence_id="a", sequence_start=True)


def test_start_is_refused_when_too_many_are_live_and_others_go_on(tmp_path: Path) -> None:
    add_sum(tmp_path, sequence="max_sequences = 2")
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine:
        for id_ in (1, 2):
            _ask(engine, "sum", id_, id_, sequence_start=True)
        with pytest.raises(falaj.Unavailable, match="2 sequences are live, and max_sequences is 2; if none"):
            _ask(engine, "sum", 3, 3, sequence_start=True)
        assert _ask(engine, "sum", 1, 1, sequence_end=True) == 2
        assert _ask(engine, "sum", 3, 3, sequence_start=True) == 3
        assert engine.stats("sum")[0]["sequences_refused"] == 1


def test_sequence_ends_by_itself_when_it_is_idle(tmp_path: Path) -> None:
    add_sum(tmp_path, sequence="idle_timeout_ms = 1")
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine:
        _ask(engine, "sum", 1, 1, sequence_start=True)
        while engine.stats("sum")[0]["sequences_live"]:
            pass
        with pytest.raises(falaj.InvalidInput, match=r"or was idle for more than 0\.1 s"):
            _ask(engine, "sum", 1, 1)
        assert engine.stats("sum")[0]["sequences_ended_idle"] == 1


def test_sequence_begins_with_a_state_from_a_file_when_one_is_given(tmp_path: Path) -> None:
    folder = add_sum(tmp_path, more='initial_file = "first.npy"\n')
    np.save(folder / "first.npy", np.array([100], np.float32))
    other = add_sum(tmp_path, "raw", more='initial_file = "states/first.bin"\n')
    (other / "states").mkdir()
    (other / "states" / "first.bin").write_bytes(np.float32(50).tobytes())
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine:
        assert _ask(engine, "sum", 1, 1, sequence_start=True) == 101
        assert _ask(engine, "raw", 1, 1, sequence_start=True) == 51
        assert _ask(engine, "raw", 1, 1) == 52


def _lstm_reference(steps: Floats) -> Floats:
    """Answers of one sequence [steps, size], by the reference implementation of ONNX, step by step."""
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(lstm_model())
    h = c = np.zeros((1, 8), np.float32)
    answers = []
    for step in steps:
        y, h, c = evaluator.run(None, {"x": step[None], "h_in": h, "c_in": c})
        answers.append(y[0])
    return np.stack(answers)


@pytest.mark.parametrize("strategy", ["oldest", "direct"])
def test_lstm_answers_as_alone_when_many_sequences_share_its_batches(tmp_path: Path, strategy: str) -> None:
    add_lstm(tmp_path, head="max_batch_size = 16", sequence=f'strategy = "{strategy}"')
    random_ = np.random.default_rng(1)
    sequences = [random_.normal(size=(n, 4)).astype(np.float32) for n in random_.integers(1, 8, size=40)]

    async def follow(engine: falaj.Engine, index: int, steps: Floats) -> list[Floats]:
        return [
            (
                await engine.infer_async(
                    "lstm",
                    {"x": step[None]},
                    sequence_id=f"s{index}",
                    sequence_start=i == 0,
                    sequence_end=i == len(steps) - 1,
                )
            )["y"][0]
            for i, step in enumerate(steps)
        ]

    async def follow_all(engine: falaj.Engine) -> list[list[Floats]]:
        return await asyncio.gather(*(follow(engine, i, steps) for i, steps in enumerate(sequences)))

    with falaj.Engine(tmp_path, cores=2, strict=True) as engine:
        answers = asyncio.run(follow_all(engine))
        stats = engine.stats("lstm")[0]
    for steps, answer in zip(sequences, answers, strict=True):
        np.testing.assert_allclose(np.stack(answer), _lstm_reference(steps), rtol=1e-5, atol=1e-6)
    assert stats["sequences_live"] == 0
    assert stats["execution_count"] < stats["inference_count"]


def test_state_grows_when_its_size_varies(tmp_path: Path) -> None:
    add_growing(tmp_path, sequence="max_state_mb = 0.00002")  # 20 bytes
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine:
        assert engine.describe("growing")["max_batch_size"] == 1
        for i in range(5):
            answer = engine.infer("growing", x_of(i), sequence_id=1, sequence_start=i == 0)["y"]
            assert answer.tolist() == [list(range(i + 1))]
        with pytest.raises(
            falaj.Unavailable, match="state 'past_out': 24 bytes for a sequence are more than"
        ):
            engine.infer("growing", x_of(5), sequence_id=1)


def test_model_tells_sequences_by_their_row_when_the_strategy_is_direct(tmp_path: Path) -> None:
    add_by_row(tmp_path, slots=4)
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine, ThreadPoolExecutor(16) as pool:
        assert engine.describe("by_row")["instances"] == 1

        def follow(id_: int) -> list[float]:
            return [
                _ask(engine, "by_row", id_, id_, sequence_start=i == 0, sequence_end=i == 4) for i in range(5)
            ]

        answers = list(pool.map(follow, range(1, 33)))
    assert answers == [[id_ * (i + 1) for i in range(5)] for id_ in range(1, 33)]


def test_waiting_sequence_meets_its_deadline_when_no_slot_gets_free(tmp_path: Path) -> None:
    add_by_row(tmp_path, slots=1)
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine:
        _ask(engine, "by_row", 1, 1, sequence_start=True)
        with pytest.raises(falaj.DeadlineExceeded):
            engine.infer("by_row", x_of(1), sequence_id=2, sequence_start=True, timeout=0.05)
        with pytest.raises(falaj.InvalidInput, match="sequence 2 is not under way"):
            _ask(engine, "by_row", 1, 2)  # its start was not run
        assert _ask(engine, "by_row", 1, 1, sequence_end=True) == 2
        assert _ask(engine, "by_row", 9, 3, sequence_start=True, timeout=30) == 9


def test_sequence_finishes_on_the_version_that_began_it_when_another_comes(tmp_path: Path) -> None:
    folder = add_sum(tmp_path, sequence="idle_timeout_ms = 600000")
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine:
        _ask(engine, "sum", 1, 1, sequence_start=True)
        model = onnx.load(folder / "1" / "model.onnx")
        model.graph.node[0].op_type = "Sub"  # version 2 counts down
        (folder / "2").mkdir()
        onnx.save(model, folder / "2" / "model.onnx")
        engine.load("sum")
        assert engine.describe("sum")["version"] == 2
        _ask(engine, "sum", 1, 2, sequence_start=True)
        assert _ask(engine, "sum", 5, 1) == 6
        assert _ask(engine, "sum", 5, 2) == -6
        engine.reload("sum")
        _ask(engine, "sum", 1, 3, sequence_start=True)
        assert [_ask(engine, "sum", 5, id_, sequence_end=True) for id_ in (1, 2, 3)] == [11, -11, -6]
        for id_ in (1, 2, 3):
            with pytest.raises(falaj.InvalidInput, match="is not under way"):
                _ask(engine, "sum", 5, id_)


def test_no_sequence_is_lost_when_its_model_is_reloaded_again_and_again(tmp_path: Path) -> None:
    add_sum(tmp_path, sequence="idle_timeout_ms = 600000")
    over = threading.Event()
    with falaj.Engine(tmp_path, cores=2, strict=True) as engine, ThreadPoolExecutor(9) as pool:

        def reload() -> None:
            for _ in range(3):
                engine.reload("sum")
            over.set()

        def follow(seed: int) -> int:
            dice = random.Random(seed)
            followed = 0
            while not over.is_set():
                followed += 1
                length, total = dice.randint(1, 9), 0
                for step in range(length):
                    x = dice.randint(0, 99)
                    total += x
                    first, last = step == 0, step == length - 1
                    id_ = seed * 1_000_000 + followed
                    assert _ask(engine, "sum", x, id_, sequence_start=first, sequence_end=last) == total
            return followed

        reloading = pool.submit(reload)
        assert min(pool.map(follow, range(1, 9))) > 0
        reloading.result()


def test_unload_does_not_wait_for_sequences_when_they_are_idle(tmp_path: Path) -> None:
    add_sum(tmp_path)
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine:
        _ask(engine, "sum", 1, 1, sequence_start=True)
        engine.reload("sum")
        _ask(engine, "sum", 1, 2, sequence_start=True)
        engine.unload("sum")
        with pytest.raises(falaj.NotFound):
            _ask(engine, "sum", 1, 1)
        engine.load("sum")
        with pytest.raises(falaj.InvalidInput, match="is not under way"):
            _ask(engine, "sum", 1, 1)


@pytest.mark.parametrize(
    ("sequence", "more", "why"),
    [
        (
            "",
            '[[sequence.state]]\ninput = "z"\noutput = "y"\n',
            r"`sequence.state\[1\]`: the model has no input 'z'",
        ),
        (
            "",
            '[[sequence.state]]\ninput = "x"\noutput = "z"\n',
            "the model has no output 'z'; it has 'y', 'told'",
        ),
        ("", '[[sequence.state]]\ninput = "x"\noutput = "told"\nshape = [2]\n', "begins with"),
        ("", '[[sequence.control]]\nname = "x"\nkind = "id"\n', "control 'x': expected INT32, INT64"),
        ("", 'initial_file = "none.npy"\n', r"`sequence.state\[0\]`: none.npy: cannot be read"),
        ("", 'datatype = "FP64"\n', "'sum_in' is FP32 in the model, here it is FP64"),
        ('strategy = "newest"\n', "", "strategy"),
        ("max_sequences = 0\n", "", "max_sequences"),
        ("idle_timeout_ms = 0\n", "", "idle_timeout_ms"),
        ("max_batch_size = 8\n", "", "max_batch_size"),
        ("", "[cache]\n", r"`cache`: expected none beside \[sequence\]"),
    ],
)
def test_model_is_not_loaded_when_its_sequences_do_not_fit(
    tmp_path: Path, sequence: str, more: str, why: str
) -> None:
    add_sum(tmp_path, sequence=sequence, more=more)
    with falaj.Engine(tmp_path, cores=1) as engine, pytest.raises(falaj.Unavailable, match=why):
        _ask(engine, "sum", 1, 1, sequence_start=True)

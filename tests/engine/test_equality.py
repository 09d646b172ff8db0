"""Every zoo model answers through the engine what ONNX Runtime answers alone, however it is asked."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import uvloop

import falaj
from tests import zoo
from tests.serving import QUICK, add_model, assert_same
from tests.zoo import Arrays, Reference, ZooModel

pytestmark = pytest.mark.core

THREADS = 64


def seeded(seed: int) -> ZooModel:
    return zoo.random_model(np.random.default_rng(seed), f"random_{seed}")


BUILDERS: dict[str, Callable[[], ZooModel]] = {
    "mlp": zoo.mlp,
    "mlp_batch4": lambda: zoo.mlp((8, 16, 3), batch=4),
    "conv_net": zoo.conv_net,
    "transformer_encoder": zoo.transformer_encoder,
    "trees_sklearn": zoo.trees_gbdt,
    "trees_lightgbm": lambda: zoo.trees_gbdt("lightgbm"),
    "trees_lightgbm_as_converted": lambda: zoo.trees_gbdt("lightgbm", as_converted=True),
    "tokens": zoo.tokens,
    "tokens_to_ids": zoo.tokens_to_ids,
    **{f"identity_{d.lower()}_3": partial(zoo.identity, d, 3, seed=7) for d in zoo.DATATYPES},
    **{f"elementwise_{d.lower()}": partial(zoo.elementwise, d) for d in zoo.DATATYPES},
    **{f"random_{seed}": partial(seeded, seed) for seed in range(60)},
    "mean_over_batch": zoo.mean_over_batch,
    "sequence_first_cumsum": zoo.sequence_first,
    "sequence_first_attention": lambda: zoo.sequence_first("attention"),
    "scalar_output": zoo.scalar_output,
    "nonzero_rows": zoo.nonzero_rows,
    "fixed_batch4": zoo.fixed_batch4,
    "no_batch": zoo.no_batch,
    "gather_bad_index": zoo.gather_bad_index,
    "loop_n": zoo.loop_n,
}
NAMES = [*BUILDERS, "external_data"]


class Served:
    """One engine with the whole zoo, and the reference of each model."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.zoo = {name: build() for name, build in BUILDERS.items()}
        for name, model in self.zoo.items():
            assert model.name == name
            add_model(folder, model, QUICK)
        external = zoo.external_data(folder)
        (folder / external.name / "model.toml").write_text(QUICK, encoding="utf-8")
        self.zoo[external.name] = external
        self.engine = falaj.Engine(folder, cores=2, strict=True)
        self.reference = cache(lambda name: Reference(self.zoo[name]))

    def samples(self, name: str, count: int, seed: int) -> list[Arrays]:
        rng = np.random.default_rng(seed)
        return [self.zoo[name].sample(rng, int(rng.integers(1, 4))) for _ in range(count)]

    def check(self, name: str, requests: list[Arrays], answers: list[Arrays]) -> None:
        for i, (request, answer) in enumerate(zip(requests, answers, strict=True)):
            assert_same(answer, self.reference(name).run(request), f"{name} request {i}")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    served = Served(tmp_path_factory.mktemp("zoo"))
    yield served
    served.engine.close()


@pytest.fixture(scope="module")
def callers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(THREADS) as executor:
        yield executor


def count_for(name: str, full: int) -> int:
    return min(full, 8) if name == "conv_net" else full


@pytest.mark.parametrize("name", NAMES)
def test_answer_equals_reference_when_asked_by_one_thread(served: Served, name: str) -> None:
    requests = served.samples(name, 4, seed=1)
    served.check(name, requests, [served.engine.infer(name, request) for request in requests])


@pytest.mark.parametrize("name", NAMES)
def test_answers_equal_reference_when_asked_by_many_threads_at_once(
    served: Served, callers: ThreadPoolExecutor, name: str
) -> None:
    count = count_for(name, THREADS)
    requests = served.samples(name, count, seed=2)
    together = threading.Barrier(count)

    def ask(request: Arrays) -> Arrays:
        together.wait(30)
        return served.engine.infer(name, request)

    served.check(name, requests, list(callers.map(ask, requests)))


@pytest.mark.parametrize("name", NAMES)
def test_answers_equal_reference_when_asked_with_infer_many(served: Served, name: str) -> None:
    requests = served.samples(name, count_for(name, 24), seed=3)
    served.check(name, requests, served.engine.infer_many(name, requests))


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_answers_equal_reference_when_asked_with_infer_async(
    served: Served, loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def ask_all() -> None:
        for name in NAMES:
            requests = served.samples(name, count_for(name, 16), seed=4)
            answers = await asyncio.gather(*(served.engine.infer_async(name, r) for r in requests))
            served.check(name, requests, answers)

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(ask_all())


@pytest.mark.parametrize("name", NAMES)
def test_batchable_is_never_claimed_when_rows_depend_on_each_other(served: Served, name: str) -> None:
    told = served.engine.describe(name)
    if not served.zoo[name].batchable:
        assert told["max_batch_size"] == 0, told["batchable_because"]


def test_requests_are_batched_when_many_arrive_together(served: Served) -> None:
    before = served.engine.stats("mlp")[0]
    served.engine.infer_many("mlp", served.samples("mlp", 64, seed=5))
    after = served.engine.stats("mlp")[0]
    assert after["requests_ok"] - before["requests_ok"] == 64
    assert after["batches"] - before["batches"] < 32

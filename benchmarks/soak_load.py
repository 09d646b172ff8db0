"""The mixed load of the soak: what is asked, and which answers are right."""

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import falaj
from falaj import Engine
from tests import zoo
from tests.zoo.model import Arrays, ZooModel

LEVELS = 3
_SAMPLES = 64
_LOOPS, _PER_LOOP, _THREADS = 1, 64, 2
_MANY = 16
_ROWS = (1, 1, 1, 2, 5)
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class SoakModel:
    """A model with requests to it and ONNX Runtime's own answers; None: the request is a bad one."""

    name: str
    cases: list[tuple[Arrays, Arrays | None]]


def make_models(folder: Path) -> list[SoakModel]:
    """Write the models into a repository and work out the answers."""
    rng = np.random.default_rng(11)
    made = []
    for model in (zoo.mlp(), zoo.tokens_to_ids(), zoo.gather_bad_index(), zoo.no_batch()):
        zoo.save(model, folder)
        # Trials would be repeated at no reload; off, so that the start is quick.
        settings = f"priority_levels = {LEVELS}\ntune_ms = 0\nmax_queue_rows = 65536\n"
        (folder / model.name / "model.toml").write_text(settings)
        made.append(SoakModel(model.name, _cases(model, rng)))
    return made


def _cases(model: ZooModel, rng: np.random.Generator) -> list[tuple[Arrays, Arrays | None]]:
    reference = zoo.Reference(model)
    cases: list[tuple[Arrays, Arrays | None]] = []
    for i in range(_SAMPLES):
        inputs = model.sample(rng, _ROWS[i % len(_ROWS)])
        cases.append((inputs, reference.run(inputs)))
    if model.name == "gather_bad_index":
        cases[0] = ({"index": np.array([[99]], dtype=np.int64)}, None)
    return cases


class _Quota:
    """What is left to be sent, by all senders together, so that the mix is the same until the end."""

    def __init__(self, requests: int) -> None:
        self._left = requests
        self._lock = threading.Lock()

    def take(self, wanted: int = 1) -> int:
        """Return how many of `wanted` may be sent: all of them, or what is left."""
        with self._lock:
            taken = min(wanted, self._left)
            self._left -= taken
            return taken


class Load:
    """Sends `requests` requests from event loops and threads and checks every answer.

    `outcomes` counts, by kind of request, how it ended. Each sender counts for itself.
    """

    def __init__(self, engine: Engine, models: list[SoakModel], requests: int) -> None:
        self._engine = engine
        quota = _Quota(requests)
        self._senders = [_Sender(engine, models, quota, seed) for seed in range(_LOOPS)]
        loops = [threading.Thread(target=sender.run_loop) for sender in self._senders]
        blocking = [_Sender(engine, models, quota, 100 + seed) for seed in range(_THREADS)]
        self._senders += blocking
        self._threads = loops + [threading.Thread(target=sender.run_blocking) for sender in blocking]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def running(self) -> bool:
        """Whether any sender has requests left."""
        return any(thread.is_alive() for thread in self._threads)

    def ended(self) -> int:
        """Requests that have ended so far."""
        return sum(sender.ended for sender in self._senders)

    def finish(self) -> dict[str, Any]:
        """Wait for the end and sum up."""
        for thread in self._threads:
            thread.join()
        outcomes: Counter[str] = Counter()
        for sender in self._senders:
            outcomes += sender.outcomes
        wrong = [text for sender in self._senders for text in sender.wrong]
        return {
            "started": sum(sender.started for sender in self._senders),
            "ended": self.ended(),
            "outcomes": dict(sorted(outcomes.items())),
            "wrong": len(wrong),
            "wrong_examples": wrong[:10],
        }


class _Sender:
    def __init__(self, engine: Engine, models: list[SoakModel], quota: _Quota, seed: int) -> None:
        self._engine = engine
        self._models = models
        self._quota = quota
        self._random = random.Random(seed)
        self.started = 0
        self.ended = 0
        self.outcomes: Counter[str] = Counter()
        self.wrong: list[str] = []

    def run_loop(self) -> None:
        """Send from one event loop, `_PER_LOOP` at a time."""
        asyncio.run(self._on_loop())

    async def _on_loop(self) -> None:
        def note(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            self.wrong.append(f"event loop: {context.get('message')}: {context.get('exception')!r}")

        asyncio.get_running_loop().set_exception_handler(note)  # a future that was answered twice ends here
        await asyncio.gather(*(self._ask_async() for _ in range(_PER_LOOP)))

    async def _ask_async(self) -> None:
        while self._quota.take():
            name, inputs, expected, kind, options = self._draw()
            ask = self._engine.infer_async(name, inputs, **options)
            self.started += 1
            if kind == "plain" and self._random.random() < 0.05:
                kind, ask = "cancelled", self._cancel(ask)
            try:
                self._check(name, kind, await ask, expected)
            except asyncio.CancelledError:
                self._failed(name, kind, expected, "Cancelled")
            except falaj.Error as error:
                self._failed(name, kind, expected, type(error).__name__, error)

    async def _cancel(self, ask: Coroutine[Any, Any, Arrays]) -> Arrays:
        task = asyncio.ensure_future(ask)
        for _ in range(self._random.randrange(4)):
            await asyncio.sleep(0)
        task.cancel()
        return await task

    def run_blocking(self) -> None:
        """Send from this thread, one at a time or many at once."""
        while wanted := self._quota.take(_MANY if self._random.random() < 0.02 else 1):
            if wanted > 1:
                self._ask_many(wanted)
                continue
            name, inputs, expected, kind, options = self._draw()
            self.started += 1
            try:
                self._check(name, kind, self._engine.infer(name, inputs, **options), expected)
            except falaj.Error as error:
                self._failed(name, kind, expected, type(error).__name__, error)

    def _ask_many(self, wanted: int) -> None:
        self.started += wanted
        model = self._random.choice(self._models)
        cases = [self._random.choice(model.cases) for _ in range(wanted)]
        requests = [inputs for inputs, _ in cases]
        answers = self._engine.infer_many(model.name, requests, return_exceptions=True)
        for (_, expected), answer in zip(cases, answers, strict=True):
            if isinstance(answer, Exception):
                self._failed(model.name, "many", expected, type(answer).__name__, answer)
            else:
                self._check(model.name, "many", answer, expected)

    def _draw(self) -> tuple[str, Arrays, Arrays | None, str, dict[str, Any]]:
        model = self._random.choice(self._models)
        inputs, expected = self._random.choice(model.cases)
        options: dict[str, Any] = {"priority": self._random.randrange(LEVELS + 1)}
        dice, kind = self._random.random(), "plain"
        if dice < 0.05:
            kind, options["timeout"] = "short timeout", self._random.random() * 1e-3
        elif dice < 0.15:
            kind, options["timeout"] = "long timeout", 60.0
        return model.name, inputs, expected, kind, options

    def _check(self, name: str, kind: str, answer: Arrays, expected: Arrays | None) -> None:
        self.ended += 1
        if expected is None:
            self.wrong.append(f"{name}: a bad request was answered")
        elif all(_same(answer[key], right) for key, right in expected.items()):
            self.outcomes[f"{kind}: answered"] += 1
        else:
            self.wrong.append(f"{name}, {kind}: wrong answer")

    def _failed(
        self, name: str, kind: str, expected: Arrays | None, error: str, what: Exception | None = None
    ) -> None:
        self.ended += 1
        allowed = {"short timeout": {"DeadlineExceeded"}, "cancelled": {"Cancelled"}}.get(kind, set())
        if expected is None:
            allowed = allowed | {"InternalError", "InvalidInput"}
        if error in allowed:
            self.outcomes[f"{kind}: {error}"] += 1
        else:
            self.wrong.append(f"{name}, {kind}: {error}: {what}")


def _same(actual: np.ndarray, expected: np.ndarray) -> bool:
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        return False
    if expected.dtype.kind == "f":
        return bool(np.abs(actual - expected).max(initial=0.0) <= _TOLERANCE)
    return bool((actual == expected).all())

"""ONNX Runtime without Falaj, through its Python API: the baseline."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import onnxruntime

from benchmarks.engine.setup import Setup

BATCHES = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True)
class Bare:
    """A way to call InferenceSession.run."""

    batch: int
    intra_op: int
    callers: int
    spinning: bool

    def text(self) -> str:
        """Return it for people."""
        spinning = ", spinning" if self.spinning else ""
        return f"batch {self.batch}, {self.intra_op} intra-op threads{spinning}, {self.callers} callers"


def session(path: str, intra_op: int, spinning: bool) -> onnxruntime.InferenceSession:
    """Open the model on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = intra_op
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


class BareRunner:
    """Measures one way. Sessions are opened and warmed up once."""

    def __init__(self, setup: Setup, model: str, how: Bare) -> None:
        self.how = how
        self._session = session(str(setup.model_file(model)), how.intra_op, how.spinning)
        self._inputs = setup.row(model, how.batch)
        for _ in range(3):
            self._session.run(None, self._inputs)

    def rows_per_second(self, seconds: float) -> float:
        """Call it for so long from `callers` threads."""
        run, inputs = self._session.run, self._inputs
        calls = repeat_in_threads(lambda: run(None, inputs), self.how.callers, seconds)
        return calls.per_second * self.how.batch


@dataclass(frozen=True)
class Calls:
    """What came of calling something for a while."""

    count: int
    wall: float
    cpu: float  # of the whole process

    @property
    def per_second(self) -> float:
        """Calls per second."""
        return self.count / self.wall

    @property
    def cpu_us(self) -> float:
        """CPU microseconds per call."""
        return self.cpu / self.count * 1e6


def repeat_in_threads(call: Callable[[], object], threads: int, seconds: float) -> Calls:
    """Call again and again from `threads` threads."""
    counts = [0] * threads
    cpu, begin = time.process_time(), time.perf_counter()
    end = begin + seconds

    def work(index: int) -> None:
        count = 0
        while time.perf_counter() < end:
            call()
            count += 1
        counts[index] = count

    workers = [threading.Thread(target=work, args=(i,)) for i in range(threads - 1)]
    for worker in workers:
        worker.start()
    work(threads - 1)
    for worker in workers:
        worker.join()
    return Calls(sum(counts), time.perf_counter() - begin, time.process_time() - cpu)


def search(setup: Setup, model: str, cores: int) -> tuple[Bare, dict[str, float]]:
    """Find the fastest way: all of them for a short time, then the best three for longer.

    Returns it, and the rows per second of every way tried.
    """
    ways = [
        Bare(batch, intra_op, callers, spinning)
        for batch in (BATCHES[2::2] if setup.smoke else BATCHES)
        for intra_op, callers, spinning in ((cores, 1, True), (cores, 1, False), (1, cores, False))
    ]
    tried: dict[Bare, float] = {}
    for way in dict.fromkeys(ways):
        tried[way] = BareRunner(setup, model, way).rows_per_second(setup.seconds / 6)
    best = sorted(tried, key=lambda way: -tried[way])[: 1 if setup.smoke else 3]
    finals = dict.fromkeys(best, 0.0)
    if len(best) > 1:
        runners = [BareRunner(setup, model, way) for way in best]
        for _ in range(3):  # in turn, so that a noisy moment hits all
            for runner in runners:
                rate = runner.rows_per_second(setup.seconds / 3)
                finals[runner.how] = max(finals[runner.how], rate)
    return max(finals, key=lambda way: finals[way]), {way.text(): rate for way, rate in tried.items()}

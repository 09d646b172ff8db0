"""falaj.Engine: the model server's core embedded in your own process, without a server and without ports."""

import asyncio
import atexit
import os
import threading
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy.typing as npt

from falaj import _core
from falaj.server.arrays import from_python
from falaj.server.describe import describe, statistics
from falaj.server.event_loop import LoopSink
from falaj.server.online_features import OnlineFeatures
from falaj.server.override import Override
from falaj.server.repository import Repository
from falaj.server.watcher import Watcher

Arrays = dict[str, npt.NDArray[Any]]


class Engine:
    """Loads the models of a repository folder and answers requests, many small ones as few large batches.

    Thread-safe: one engine serves any number of threads and event loops. A process that forks makes a new
    engine in the child; one left open is closed at interpreter exit.

    Args:
        repository: folder of `<model>/<version>/model.onnx`; see docs/model-repository.md.
        cores: executor threads; by default as many cores as affinity and cgroup quota let the process use.
        watch: seconds between looks at the folder for changes; None (default) looks only when told to.
        models: the models to be loaded now; None (default) for all that are there.
        features: URL of the online store that models look features up in, such as `lmdb://.falaj/online`;
            None (default) where none does. The server gives an OnlineFeatures.
        features_as_of: whether requests may say as of when they are looked up, by an input `features_as_of`,
            INT64 [rows, 1], UTC µs. For replays: what a later write has superseded is
            gone from a store, so a replay writes as it asks.
        strict: raise where a model fails to load; by default the others are served, and `models()` and any
            request to it say why it failed.

    Raises:
        NotFound: `repository` is not a folder.
    """

    def __init__(
        self,
        repository: str | PathLike[str],
        *,
        cores: int | None = None,
        watch: float | None = None,
        models: Sequence[str] | None = None,
        features: str | OnlineFeatures | None = None,
        features_as_of: bool = False,
        strict: bool = False,
    ) -> None:
        cores = cores if cores is not None else _core.usable_cores()
        if cores < 1:
            raise _core.InvalidInput(f"cores: expected 1 or more, got {cores}")
        self._runtime = _core.Runtime(cores, from_python)
        if not isinstance(features, OnlineFeatures):
            features = OnlineFeatures(features, as_of=features_as_of)
        self._features = features
        self._repository = Repository(Path(repository), self._runtime, cores, self._features)
        self._sinks: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LoopSink] = (
            weakref.WeakKeyDictionary()
        )
        self._sinks_lock = threading.Lock()
        self._watcher: Watcher | None = None
        self._closed = False
        self._pid = os.getpid()
        # Native threads must be gone before the interpreter is; the weak method keeps no engine alive.
        self._at_exit = weakref.WeakMethod(self.close)
        atexit.register(_close_if_alive, self._at_exit)
        try:
            failed = self._repository.load_all(models)
            if failed and strict:
                name, why = next(iter(failed.items()))
                raise _core.Unavailable(f"model '{name}' was not loaded: {why}")
            if watch is not None:
                self._watcher = Watcher(self._repository, watch)
        except BaseException:
            self.close()
            raise

    def infer(
        self,
        model: str,
        inputs: dict[str, Any],
        *,
        version: int | None = None,
        timeout: float | None = None,
        priority: int = 0,
        sequence_id: int | str = 0,
        sequence_start: bool = False,
        sequence_end: bool = False,
        outputs: Sequence[str] | None = None,
        out: Mapping[str, npt.NDArray[Any]] | None = None,
    ) -> Arrays:
        """Ask a model and wait for the answer.

        Args:
            model: its name in the repository.
            inputs: one value per input: a NumPy array or anything with `__dlpack__` of the input's data type,
                or a list of Python values that fit it. The first dimension is the batch, where there is one.
                Large row-major arrays are used where they lie and must not change until the answer is there.
            version: a version in service; None for the highest.
            timeout: seconds until DeadlineExceeded is raised, whatever the model is doing.
            priority: 1 is served first; 0 is the model's default level.
            sequence_id: of a stateful model: the sequence that the request belongs to, with
            sequence_start: whether it is the first, and
            sequence_end: whether it is the last of it.
            outputs: names of the wanted outputs, in order; None for all.
            out: arrays to be filled, by output name, of exactly the output's type and shape.

        Returns:
            One array per output, each owning its memory; BYTES as an object array of `bytes`.

        Raises:
            InvalidInput: wrong name, data type, shape or value; the message names model, version and tensor.
            NotFound: no such model or version.
            Unavailable: queue full, overloaded (slo_ms), not in service, or the engine is closed.
            DeadlineExceeded: the timeout passed, or cannot be met.
            InternalError: the model itself failed.
        """
        sequence = _sequence(sequence_id, sequence_start, sequence_end)
        return self._runtime.infer(model, inputs, version or 0, timeout, priority, sequence, outputs, out)

    async def infer_async(
        self,
        model: str,
        inputs: dict[str, Any],
        *,
        version: int | None = None,
        timeout: float | None = None,
        priority: int = 0,
        sequence_id: int | str = 0,
        sequence_start: bool = False,
        sequence_end: bool = False,
        outputs: Sequence[str] | None = None,
        out: Mapping[str, npt.NDArray[Any]] | None = None,
    ) -> Arrays:
        """As `infer`, for asyncio.

        Requests made in one turn of the loop are handed over together, and a batch that finishes wakes the
        loop once. Cancelling the awaiting task withdraws the request and leaves the others of its batch
        untouched.
        """
        loop = asyncio.get_running_loop()
        sink = self._sinks.get(loop) or self._new_sink(loop)
        future: asyncio.Future[Arrays] = loop.create_future()
        sequence = _sequence(sequence_id, sequence_start, sequence_end)
        tag = sink.submit(model, inputs, version or 0, timeout, priority, sequence, outputs, out, future)
        try:
            return await future
        except asyncio.CancelledError:
            sink.cancel(tag)
            raise

    def infer_stream(
        self,
        model: str,
        inputs: dict[str, Any],
        *,
        version: int | None = None,
        timeout: float | None = None,
        priority: int = 0,
        outputs: Sequence[str] | None = None,
    ) -> Iterator[Arrays]:
        """Ask a model that answers any number of times (`decoupled`), or one that answers once.

        The request is made at once. A model that is ahead of who takes its answers waits for them. Closing
        the iterator, or dropping it, withdraws the request and ends the model's generator. `timeout` is for
        the last answer. Arguments and what is raised are as of `infer`.
        """
        answers = _core.AnswerIterator(self._runtime, model, inputs, version or 0, timeout, priority, outputs)
        return _iterate(answers)

    async def infer_stream_async(
        self,
        model: str,
        inputs: dict[str, Any],
        *,
        version: int | None = None,
        timeout: float | None = None,
        priority: int = 0,
        outputs: Sequence[str] | None = None,
    ) -> AsyncGenerator[Arrays, None]:
        """As `infer_stream`, for asyncio. The request is made when the first answer is asked for."""
        loop = asyncio.get_running_loop()
        sink = self._sinks.get(loop) or self._new_sink(loop)
        arrived: deque[_core.StreamedAnswer] = deque()
        some = asyncio.Event()

        def take(answer: _core.StreamedAnswer) -> None:
            arrived.append(answer)
            some.set()

        tag = sink.submit_stream(model, inputs, version or 0, timeout, priority, outputs, take)
        ended = False
        try:
            while not ended:
                while not arrived:
                    some.clear()
                    await some.wait()
                answer = arrived.popleft()
                ended = answer.last
                arrays = answer.take()
                del answer
                if arrays is not None:
                    yield arrays
        finally:
            if not ended:
                sink.cancel(tag)

    def infer_many(
        self,
        model: str,
        requests: Sequence[dict[str, Any]],
        *,
        version: int | None = None,
        timeout: float | None = None,
        priority: int = 0,
        outputs: Sequence[str] | None = None,
        return_exceptions: bool = False,
    ) -> list[Any]:
        """Ask a model many things at once; returns the answers in the order of `requests`.

        The first failure is raised, after all requests that were under way have ended; with
        `return_exceptions` it takes the place of its answer instead. `timeout` is for the whole call.
        """
        return self._runtime.infer_many(
            model, requests, version or 0, timeout, priority, outputs, return_exceptions
        )

    def load(self, model: str) -> None:
        """Load a model that is new in the repository, or bring a loaded one in line with its folder.

        Raises NotFound, InvalidInput (also for a wrong configuration) or Unsupported; versions that are in
        service stay there.
        """
        self._models().load(model)

    def reload(self, model: str) -> None:
        """Load the model anew even where nothing changed. No request fails: the new version is loaded and
        warmed up beside the old one, which answers what it has accepted. Raises as `load`."""
        self._models().load(model, force=True)

    def load_override(self, model: str, override: Override) -> None:
        """Load the model with a configuration, and perhaps files, that replace its folder's until the next
        load, reload or unload. Raises as `load`."""
        self._models().load(model, override=override)

    def unload(self, model: str, *, dependents: bool = False) -> None:
        """Take a model out of service, answer what it has accepted, return its memory. Raises NotFound.

        `dependents`: of a pipeline, also the models that it is made of, but for those that another needs."""
        self._models().unload(model, dependents=dependents)

    def models(self) -> list[dict[str, Any]]:
        """The known models and versions: name, version, state (READY or UNAVAILABLE), reason."""
        return self._models().index()

    def describe(self, model: str, version: int | None = None) -> dict[str, Any]:
        """Inputs, outputs, how the model is batched and why, where it runs, and notes on its loading.

        Raises NotFound or Unavailable.
        """
        return describe(self._models().served(model, version))

    def stats(self, model: str | None = None, version: int | None = None) -> list[dict[str, Any]]:
        """Counters of one model version, or of all in service. Raises NotFound or Unavailable."""
        if model is not None:
            return [statistics(self._models().served(model, version))]
        return [statistics(loaded) for loaded in self._models().serving()]

    def stuck(self, seconds: float) -> dict[tuple[str, int], float]:
        """The versions (name, number) of which a batch has been running for longer than `seconds`, and since
        how many seconds: a run that hangs in a model or a driver, from which nothing frees it."""
        return {
            (loaded.name, loaded.version): running
            for loaded in self._models().serving()
            if (running := loaded.model.stats()["oldest_batch_ns"] / 1e9) > seconds
        }

    @property
    def repository(self) -> Repository:
        """The models, as the front end asks for them. Internal. Raises Unavailable once closed."""
        return self._models()

    @property
    def runtime(self) -> _core.Runtime:
        """The native core that the front end stands on. Internal: usable until close."""
        return self._runtime

    @property
    def features(self) -> OnlineFeatures:
        """The online store that models look their features up in. Internal."""
        return self._features

    def close(self) -> None:
        """Answer what was accepted, unload everything, end the threads. Idempotent; later calls raise
        Unavailable."""
        if self._closed:
            return
        self._closed = True
        if os.getpid() != self._pid:
            return  # in a forked child there are no threads to end, and locks may be held by none
        atexit.unregister(_close_if_alive)
        if self._watcher is not None:
            self._watcher.close()
        self._repository.close()
        with self._sinks_lock:
            sinks = list(self._sinks.items())
            self._sinks = weakref.WeakKeyDictionary()
        for loop, sink in sinks:
            if not loop.is_closed():
                loop.call_soon_threadsafe(sink.close)
        self._runtime.close()

    def __enter__(self) -> "Engine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _models(self) -> Repository:
        if os.getpid() != self._pid:
            raise _core.Unavailable("this engine was made before fork(); make one in the child")
        if self._closed:
            raise _core.Unavailable("this engine is closed")
        return self._repository

    def _new_sink(self, loop: asyncio.AbstractEventLoop) -> LoopSink:
        with self._sinks_lock:
            return self._sinks.setdefault(loop, LoopSink(loop, self._runtime))


def _sequence(id_: int | str, start: bool, end: bool) -> tuple[int | str, bool, bool] | None:
    return (id_, start, end) if id_ or start or end else None


def _iterate(answers: _core.AnswerIterator) -> Iterator[Arrays]:
    try:
        while (arrays := answers.next()) is not None:
            yield arrays
    finally:
        answers.close()


def _close_if_alive(close: "weakref.WeakMethod[Any]") -> None:
    alive = close()
    if alive is not None:
        alive()

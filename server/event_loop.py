"""One asyncio event loop's end of the core: futures in, one wake-up a batch out."""

import asyncio
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy.typing as npt

from falaj import _core

Arrays = dict[str, npt.NDArray[Any]]


_BURST = 64  # requests


class LoopSink:
    """Used only on its loop's thread. Holds no strong reference to the loop, which owns it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, runtime: _core.Runtime) -> None:
        self._sink = _core.AsyncSink(runtime)
        self._loop = weakref.ref(loop)
        self._unflushed = 0
        loop.add_reader(self._sink.fd, self._sink.drain)

    def submit(
        self,
        model: str,
        inputs: dict[str, Any],
        version: int,
        timeout: float | None,
        priority: int,
        sequence: tuple[int | str, bool, bool] | None,
        outputs: Sequence[str] | None,
        out: Mapping[str, npt.NDArray[Any]] | None,
        future: asyncio.Future[Arrays],
    ) -> int:
        """Enqueue a request. What is enqueued in one turn of the loop is flushed together after it, and in
        between when it is much, so that a long burst is being answered while it is still being made."""
        tag = self._sink.submit(model, inputs, version, timeout, priority, sequence, outputs, out, future)
        self._unflushed += 1
        if self._unflushed == 1:
            future.get_loop().call_soon(self._flush)
        elif self._unflushed % _BURST == 0:
            self._sink.flush()
        return tag

    def submit_stream(
        self,
        model: str,
        inputs: dict[str, Any],
        version: int,
        timeout: float | None,
        priority: int,
        outputs: Sequence[str] | None,
        take: Callable[[_core.StreamedAnswer], None],
    ) -> int:
        """Enqueue a request that is answered any number of times; `take` gets each answer, on the loop."""
        tag = self._sink.submit_stream(model, inputs, version, timeout, priority, outputs, take)
        self._sink.flush()
        return tag

    def cancel(self, tag: int) -> None:
        """Withdraw a request whose future was cancelled."""
        self._sink.cancel(tag)

    def close(self) -> None:
        """Deliver what is there and leave the loop."""
        self._sink.drain()
        loop = self._loop()
        if loop is not None and not loop.is_closed():
            loop.remove_reader(self._sink.fd)

    def _flush(self) -> None:
        self._unflushed = 0
        self._sink.flush()
        # What ran on this very thread is answered now instead of after another turn through the selector.
        self._sink.drain()

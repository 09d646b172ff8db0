"""Operations that take long, kept away from event loops."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from falaj import _core

T = TypeVar("T")

_THREADS = 4
# Operations that wait for a thread. Each may hold the files of a model.
_LONGEST_QUEUE = 64


class Background:
    """A few threads of its own, made when they are needed. Any loop and any thread may use it.

    They are not those of asyncio's default executor: models that take minutes to load would keep everything
    else from it. They are daemons: a model that hangs while it is loaded does not keep the process.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._threads = 0
        self._idle = 0
        self._closed = False

    async def run(self, operation: Callable[..., T], *args: Any) -> T:
        """Run an operation and return what it does. Cancelled before it began, it never runs; later, it
        goes on and nobody hears of it. Raises Unavailable where too many wait, and what it raises."""
        future: Future[T] = Future()
        with self._changed:
            if self._closed:
                raise _core.Unavailable("the server is being stopped")
            if len(self._waiting) >= _LONGEST_QUEUE:
                raise _core.Unavailable("too many operations on models are waiting; try again later")
            self._waiting.append((future, lambda: operation(*args)))
            if self._idle >= len(self._waiting) or self._threads == _THREADS:
                self._changed.notify()
            else:
                self._threads += 1
                threading.Thread(target=self._work, name="falaj-models", daemon=True).start()
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Begin nothing more. What waits is cancelled, what runs goes on."""
        with self._changed:
            self._closed = True
            for future, _ in self._waiting:
                future.cancel()
            self._waiting.clear()
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._idle += 1
                self._changed.wait_for(lambda: self._waiting or self._closed)
                self._idle -= 1
                if self._closed:
                    return
                future, operation = self._waiting.popleft()
            if future.set_running_or_notify_cancel():
                _settle(future, operation)
            del future, operation  # what they hold is not kept until the next one comes


def _settle(future: Future[Any], operation: Callable[[], Any]) -> None:
    try:
        result = operation()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)

"""The event loop of a Python model whose methods are `async def`."""

import asyncio
import logging
import threading
from collections.abc import Awaitable
from typing import Any, TypeVar

from falaj._core import AnswerWriter, InternalError, Unavailable

_T = TypeVar("_T")
_ENDS_S = 5.0  # for what is still under way on a loop that is closed
_log = logging.getLogger("falaj.model_loop")


class ModelLoop:
    """An event loop on a thread of its own, made when something is first awaited. Thread-safe.

    One for each loaded version: what belongs to a loop (connection pools, locks, engines with queues of their
    own) can be shared by its instances, and goes on between requests.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()  # of what follows
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closed = False
        self._end = asyncio.Event()  # of the loop's

    def wait(self, made: Awaitable[_T]) -> _T:
        """Run what an `async def` gave to its end, on the loop; the calling thread waits.

        Raises:
            What it raises.
            Unavailable: The loop is closed.
        """
        future = asyncio.run_coroutine_threadsafe(_settled(made), self._running())
        value, error = future.result()
        if error is not None:
            try:
                raise error
            finally:
                del error, future  # the traceback refers to this frame
        return value  # type: ignore[return-value]

    def stream(self, given: Any, writer: AnswerWriter) -> bool:
        """Put each answer that an asynchronous generator yields, while there is room and they are wanted.

        One task takes all steps of the generator, so that what it enters in one it can leave in another. It
        is closed however it ends, and cancelled at its `await` where nobody wants more.

        Args:
            given: An asynchronous iterator, or an awaitable of one.

        Returns:
            Whether it came to its end.

        Raises:
            What it raises.
        """
        return self.wait(_Stream(writer).run(given))

    def close(self) -> None:
        """Cancel what is still under way, for which it gets 5 seconds, and end the thread."""
        with self._lock:
            self._closed = True
            loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        loop.call_soon_threadsafe(self._end.set)
        thread.join(_ENDS_S)
        if thread.is_alive():
            _log.warning(
                "model '%s': its tasks did not end within %g s of their cancellation", self._name, _ENDS_S
            )

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._closed:
                raise Unavailable(f"model '{self._name}': its event loop is closed")
            if self._loop is None:
                import uvloop

                self._loop = uvloop.new_event_loop()
                self._thread = threading.Thread(
                    target=self._serve, args=(self._loop,), name=f"falaj-async-{self._name}", daemon=True
                )
                self._thread.start()
            return self._loop

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        while not self._end.is_set():
            try:
                loop.run_until_complete(self._end.wait())
            except BaseException:  # SystemExit in a task that the model made: that task's end, not the loop's
                _log.exception("model '%s': a task of its own raised what ends an event loop", self._name)
        try:
            loop.run_until_complete(_finish(loop))
        finally:
            asyncio.set_event_loop(None)
            loop.close()


class _Stream:
    """The answers to one request, on the loop."""

    def __init__(self, writer: AnswerWriter) -> None:
        self._writer = writer
        self._room = asyncio.Event()
        self._task: asyncio.Task[Any] | None = None  # while it may be cancelled

    async def run(self, given: Any) -> bool:
        loop = asyncio.get_running_loop()
        loop.add_reader(self._writer.fd, self._changed)
        try:
            return await self._put_all(given)
        finally:
            loop.remove_reader(self._writer.fd)

    async def _put_all(self, given: Any) -> bool:
        self._task = asyncio.current_task()
        answers: Any = None
        try:
            if not hasattr(given, "__aiter__"):
                given = await given
                if not hasattr(given, "__aiter__"):
                    raise InternalError(
                        f"the model's stream returned {type(given)}, expected an async iterator"
                    )
            answers = aiter(given)
            async for answer in answers:
                if not self._writer.put(answer) or not await self._may_go_on():
                    return False
        except asyncio.CancelledError:
            if not self._writer.has_ended:
                raise
            return False
        finally:
            self._task = None  # what the generator does at its end is not cut
            if hasattr(answers, "aclose"):
                await answers.aclose()
        return True

    async def _may_go_on(self) -> bool:
        while self._writer.is_full:
            self._room.clear()
            await self._room.wait()
        await asyncio.sleep(0)  # others' turn: a generator need not wait for anything
        return not self._writer.has_ended

    def _changed(self) -> None:
        self._writer.clear()
        if not self._writer.has_ended:
            self._room.set()
        elif self._task is not None:
            self._task.cancel()
            self._task = None


async def _settled(made: Awaitable[_T]) -> tuple[_T | None, BaseException | None]:
    """Its value or what it raised: SystemExit, raised by a task, would end the loop."""
    try:
        return await made, None
    except BaseException as error:
        return None, error


async def _finish(loop: asyncio.AbstractEventLoop) -> None:
    left = asyncio.all_tasks(loop) - {asyncio.current_task(loop)}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()

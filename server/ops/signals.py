"""SIGTERM, SIGINT and SIGHUP as events of the server's life."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_END = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def ending_by_signal() -> Iterator[Callable[[], None]]:
    """While models are loaded there is no event loop: a signal to end raises SystemExit(0) where it finds the
    main thread, which unwinds what was begun. SIGHUP has nothing to do yet and is left alone.

    Yields a function that raises it again where it was raised already: it may have struck inside a model's
    own code, and have become the reason why that model was not loaded. Where the signals are ignored by now
    (Signals.ignore), they stay so.
    """
    before = {number: signal.getsignal(number) for number in (*_END, signal.SIGHUP)}
    asked: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        raise SystemExit(0)

    def check() -> None:
        if asked:
            raise SystemExit(0)

    for number in _END:
        signal.signal(number, end)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield check
    finally:
        if signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN:
            for number, handler in before.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)


class Signals:
    """Counts the signals to end. Used on the loop's thread only.

    The first asks the server to end, a second that it wait for nothing more before it takes no new requests,
    a third that it wait for no request in flight either.

    The handlers are Python's, not the loop's: those can only be taken away by way of the default action,
    which would end the process with a signal that comes at that moment.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, on_hangup: Callable[[], None]) -> None:
        self._asked = (asyncio.Event(), asyncio.Event(), asyncio.Event())
        calls = {**dict.fromkeys(_END, self._ask), signal.SIGHUP: on_hangup}

        def hand_over(number: int, frame: FrameType | None) -> None:
            if not loop.is_closed():  # else the server has failed, and ends by itself
                loop.call_soon_threadsafe(calls[signal.Signals(number)])

        for number in calls:
            signal.signal(number, hand_over)

    async def asked(self, times: int, timeout: float | None = None) -> bool:
        """Wait until the server was asked to end so many times (1 to 3), at most `timeout` seconds. Returns
        whether it was."""
        event = self._asked[times - 1]
        try:
            async with asyncio.timeout(timeout):
                await event.wait()
        except TimeoutError:
            pass
        return event.is_set()

    def was_asked(self, times: int) -> bool:
        """Whether the server was asked to end so many times already."""
        return self._asked[times - 1].is_set()

    def ignore(self) -> None:
        """Nothing is left that they could change: the process ends, with a status of its own."""
        for number in (*_END, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)

    def _ask(self) -> None:
        for event in self._asked:
            if not event.is_set():
                event.set()
                return

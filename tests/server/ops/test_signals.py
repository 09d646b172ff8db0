"""Signals reach the server's life at every stage of it."""

import asyncio
import os
import signal
from contextlib import suppress

import pytest
import uvloop

from falaj.server.ops.signals import Signals, ending_by_signal

_HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def _send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_unwinds_the_start_when_there_is_no_loop_yet(number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in _HANDLED]
    unwound: list[bool] = []

    def start() -> None:
        with ending_by_signal():
            try:
                _send(signal.SIGHUP)
                _send(number)
                signal.pause()
            finally:
                unwound.append(True)

    with pytest.raises(SystemExit) as ended:
        start()
    assert (ended.value.code, unwound) == (0, [True])
    assert [signal.getsignal(each) for each in _HANDLED] == before


def test_signal_is_remembered_when_a_models_code_swallowed_it() -> None:
    def start() -> None:
        with ending_by_signal() as check:
            check()
            with suppress(SystemExit):
                _send(signal.SIGTERM)
                signal.pause()
            check()

    with pytest.raises(SystemExit):
        start()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_each_signal_to_end_shortens_the_next_wait_when_repeated(number: signal.Signals) -> None:
    async def live() -> None:
        hangups: list[int] = []
        hung_up = asyncio.Event()

        def hang_up() -> None:
            hangups.append(1)
            hung_up.set()

        signals = Signals(asyncio.get_running_loop(), hang_up)
        assert await signals.asked(1, timeout=0) is False
        _send(signal.SIGHUP)
        await hung_up.wait()
        assert hangups == [1]
        for times in (1, 2, 3):
            assert not signals.was_asked(times)
            _send(number)
            assert await signals.asked(times, timeout=60) is True
            assert signals.was_asked(times)
        _send(number)  # a fourth has nothing left to shorten

    with ending_by_signal(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(live())

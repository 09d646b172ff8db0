"""Long operations run beside the loop, a few at a time, and keep nobody."""

import asyncio
import gc
import threading
import weakref

import pytest

import falaj
from falaj.server.api.background import Background
from tests.serving import assert_clean, run_script


class Blocked:
    """Operations that have begun and wait."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.begun = threading.Semaphore(0)
        self.threads: list[int] = []

    def run(self, value: int) -> int:
        self.threads.append(threading.get_ident())
        self.begun.release()
        assert self.gate.wait(60)
        return value

    def wait_begun(self, count: int) -> None:
        for _ in range(count):
            assert self.begun.acquire(timeout=60)


async def _turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_results_and_errors_are_given_when_operations_end() -> None:
    async def main() -> None:
        background = Background()
        assert await background.run(divmod, 7, 2) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            await background.run(divmod, 7, 0)
        background.close()

    asyncio.run(main())


def test_four_run_and_the_others_wait_when_many_are_asked_for() -> None:
    async def main() -> None:
        background, blocked = Background(), Blocked()
        tasks = [asyncio.create_task(background.run(blocked.run, i)) for i in range(10)]
        await _turns()
        await asyncio.to_thread(blocked.wait_begun, 4)
        assert len(blocked.threads) == len(set(blocked.threads)) == 4
        assert not any(task.done() for task in tasks)
        blocked.gate.set()
        assert await asyncio.gather(*tasks) == list(range(10))
        background.close()

    asyncio.run(main())


def test_operation_is_refused_when_too_many_wait() -> None:
    async def main() -> None:
        background, blocked = Background(), Blocked()
        tasks = [asyncio.create_task(background.run(blocked.run, 0)) for _ in range(4)]
        await _turns()
        await asyncio.to_thread(blocked.wait_begun, 4)
        tasks += [asyncio.create_task(background.run(blocked.run, i)) for i in range(64)]
        await _turns()
        with pytest.raises(falaj.Unavailable, match="waiting"):
            await background.run(blocked.run, 0)
        blocked.gate.set()
        await asyncio.gather(*tasks)
        background.close()

    asyncio.run(main())


def test_operation_never_runs_when_cancelled_before_it_began_and_goes_on_after() -> None:
    async def main() -> None:
        background, blocked, ran = Background(), Blocked(), []
        tasks = [asyncio.create_task(background.run(blocked.run, 0)) for _ in range(4)]
        late = asyncio.create_task(background.run(ran.append, 1))
        await _turns()
        await asyncio.to_thread(blocked.wait_begun, 4)
        late.cancel()
        tasks[0].cancel()
        await _turns()
        assert late.cancelled()
        assert tasks[0].cancelled()
        blocked.gate.set()
        await asyncio.gather(*tasks[1:])
        await background.run(ran.append, 2)
        assert ran == [2]
        background.close()

    asyncio.run(main())


def test_nothing_begins_when_closed() -> None:
    async def main() -> None:
        background, blocked, ran = Background(), Blocked(), []
        running = [asyncio.create_task(background.run(blocked.run, 5)) for _ in range(4)]
        waiting = asyncio.create_task(background.run(ran.append, 1))
        await _turns()
        await asyncio.to_thread(blocked.wait_begun, 4)
        background.close()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        with pytest.raises(falaj.Unavailable):
            await background.run(ran.append, 2)
        blocked.gate.set()
        assert await asyncio.gather(*running) == [5] * 4
        assert ran == []

    asyncio.run(main())


def test_what_an_operation_was_given_is_freed_when_it_has_ended() -> None:
    class Large:
        pass

    async def main() -> None:
        background, large = Background(), Large()
        seen = weakref.ref(large)
        await background.run(id, large)
        del large
        await background.run(id, 0)  # the thread that had it may be on its way to the next one
        gc.collect()
        assert seen() is None
        background.close()

    asyncio.run(main())


def test_process_ends_when_an_operation_does_not() -> None:
    assert_clean(
        run_script(
            """
            import asyncio
            import threading

            from falaj.server.api.background import Background

            async def main():
                begun = threading.Event()

                def hang():
                    begun.set()
                    threading.Event().wait()

                task = asyncio.create_task(Background().run(hang))
                await asyncio.to_thread(begun.wait)
                task.cancel()

            asyncio.run(main())
            """
        )
    )

"""Models that answer as often as they are told, and tell what became of their generators."""

DECOUPLED = "decoupled = true\n"

# x: how many answers, each its number; below 0: as many, then an error; -1: something that is no answer.
COUNTING = """
import sys
import threading

import numpy as np

made, closed, ended = 0, 0, threading.Event()

class Model:
    def stream(self, batch):
        global made, closed
        made = 0
        count = int(batch["x"][0, 0])
        try:
            for i in range(abs(count)):
                made += 1
                if count == -1:
                    yield 7
                yield {"y": np.full((1, 1), i, dtype=np.float32)}
            if count < 0:
                raise ValueError("three is enough")
        finally:
            closed += 1
            ended.set()

sys.modules["falaj_test_counting"] = sys.modules[__name__]
"""

# The same on an event loop, whose turn others have in between.
ASYNC_COUNTING = (
    COUNTING.replace("import sys", "import asyncio\nimport sys", 1)
    .replace("    def stream", "    async def stream")
    .replace("                made += 1", "                await asyncio.sleep(0)\n                made += 1")
    .replace("            closed += 1", "            await asyncio.sleep(0)\n            closed += 1")
)

# On an event loop too, and it tells how it was ended.
# x: 0 waits for ever before its first answer, 1 behind it; 2 never ends; 3 is cancelled and goes on.
ENDING = """
import asyncio
import sys
import threading

import numpy as np

ends, waiting, ended = [], threading.Event(), threading.Event()

class Connection:
    async def __aenter__(self):
        ends.append("opened")
    async def __aexit__(self, kind, error, trace):
        await asyncio.sleep(0.001)
        ends.append(f"closed by {kind.__name__}")

async def for_ever():
    waiting.set()
    await asyncio.Event().wait()

class Model:
    async def stream(self, batch):
        what = batch["x"][0, 0]
        try:
            async with Connection():
                if what == 0:
                    await for_ever()
                yield {"y": batch["x"]}
                if what == 1:
                    await for_ever()
                while what == 2:
                    yield {"y": batch["x"]}
                try:
                    await for_ever()
                except asyncio.CancelledError:
                    ends.append("went on")
                    yield {"y": batch["x"]}
        finally:
            ended.set()

sys.modules["falaj_test_ending"] = sys.modules[__name__]
"""

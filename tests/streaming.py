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

# The same on an event loop.
ASYNC_COUNTING = """
import asyncio
import sys
import threading

import numpy as np

made, closed, ended = 0, 0, threading.Event()

class Model:
    async def stream(self, batch):
        global made, closed
        made = 0
        count = int(batch["x"][0, 0])
        try:
            for i in range(abs(count)):
                await asyncio.sleep(0)
                made += 1
                if count == -1:
                    yield 7
                yield {"y": np.full((1, 1), i, dtype=np.float32)}
            if count < 0:
                raise ValueError("three is enough")
        finally:
            await asyncio.sleep(0)
            closed += 1
            ended.set()

sys.modules["falaj_test_counting"] = sys.modules[__name__]
"""

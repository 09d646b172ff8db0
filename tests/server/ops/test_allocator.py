"""The allocator of a server keeps little of what was freed."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping

import pytest

from tests.wire.footprint import MEMORY_TELLS

pytestmark = [
    pytest.mark.core,
    pytest.mark.skipif(not MEMORY_TELLS, reason="a sanitizer has an allocator of its own"),
]

# Threads that all hold memory at the same time each want an arena of their own.
_COUNT_ARENAS = """
import ctypes, os, sys, threading
from falaj.server.ops.serve import _bound_allocator
_bound_allocator(3)
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.fdopen.restype = ctypes.c_void_p
all_hold = threading.Barrier(12)
def hold():
    libc.malloc(ctypes.c_size_t(5000))
    all_hold.wait()
threads = [threading.Thread(target=hold) for _ in range(12)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc.malloc_info(0, ctypes.c_void_p(libc.fdopen(1, b"w")))
libc.fflush(None)
"""

# A freed block of 30 MB teaches an allocator that adapts to keep twice as much. What is resident after 50 MB
# in blocks of two were taken and freed by a thread of its own is the free end of that thread's arena.
_MEASURE_WHAT_STAYS = """
import ctypes, os, threading
from falaj.server.ops.serve import _bound_allocator
_bound_allocator(3)
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
def attack():
    libc.free(ctypes.c_void_p(libc.malloc(ctypes.c_size_t(30 << 20))))
    blocks = [libc.malloc(ctypes.c_size_t(2 << 20)) for _ in range(25)]
    for block in blocks: ctypes.memset(block, 1, 2 << 20)
    for block in blocks: libc.free(ctypes.c_void_p(block))
before = resident()
thread = threading.Thread(target=attack)
thread.start()
thread.join()
libc.malloc_trim(ctypes.c_size_t(0))
print(resident() - before)
"""


def arenas(environment: Mapping[str, str]) -> int:
    return len(re.findall(r"<heap nr=", told(_COUNT_ARENAS, environment)))


def told(script: str, environment: Mapping[str, str]) -> str:
    return subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_threads_share_as_many_arenas_as_they_are_given() -> None:
    assert arenas({}) == 3


@pytest.mark.parametrize(
    "environment", [{"MALLOC_ARENA_MAX": "5"}, {"GLIBC_TUNABLES": "glibc.malloc.arena_max=5"}]
)
def test_the_operator_may_allow_other_numbers(environment: dict[str, str]) -> None:
    assert arenas(environment) == 5


def test_little_stays_when_a_thread_has_freed_much() -> None:
    assert int(told(_MEASURE_WHAT_STAYS, {})) < 20 << 20
    # What is measured is the bound, not a habit of the allocator: without it nearly all of 50 MB stays.
    assert int(told(_MEASURE_WHAT_STAYS, {"MALLOC_ARENA_MAX": "3"})) > 40 << 20

"""What a server's process holds of its machine, and what it says that it refused."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.server.serving_process import Serving, until

# A sanitizer keeps what was freed for a while, to find its use, and pads what is taken.
MEMORY_TELLS = not {"ASAN_OPTIONS", "TSAN_OPTIONS"} & os.environ.keys()
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Footprint:
    """Memory that is resident, in bytes, and open file descriptors."""

    memory: int
    descriptors: int

    @staticmethod
    def of(pid: int) -> "Footprint":
        process = Path("/proc") / str(pid)
        pages = int((process / "statm").read_text(encoding="ascii").split()[1])
        return Footprint(pages * _PAGE, len(os.listdir(process / "fd")))


def until_back(pid: int, before: Footprint, growth: int, prompt: Callable[[], None] = lambda: None) -> None:
    """Wait until a process holds at most `growth` bytes more than before, and no more descriptors.

    `prompt` has it give back what it need not hold, before each look.
    """
    now = before

    def back() -> bool:
        nonlocal now
        prompt()
        now = Footprint.of(pid)
        grown = MEMORY_TELLS and now.memory > before.memory + growth
        return not grown and now.descriptors <= before.descriptors

    try:
        until(back, "the server gives back what it took")
    except AssertionError as error:
        raise AssertionError(f"before: {before}; now: {now}; memory may grow by {growth}") from error


def refused(server: Serving, protocol: str) -> dict[str, int]:
    """How much was refused so far, by reason."""
    status, _, page = server.ask("GET", "/metrics", listener="metrics")
    assert status == 200, page
    return {
        sample.labels["reason"]: int(sample.value)
        for family in text_string_to_metric_families(page.decode("utf-8"))
        for sample in family.samples
        if sample.name == "falaj_wire_refused_total" and sample.labels["protocol"] == protocol
    }

"""Made-up servers whose best setting is known: a queue with one server, whose p99 grows with its load."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from falaj.server.tuning.rate import Seen
from falaj.server.tuning.setting import Setting

Capacity = Callable[[Setting], float]


def p99_ms(rate: float, capacity: float, work_ms: float) -> float:
    """Of a queue at `rate` of `capacity`, in the steady state (M/M/1); endless at more than it can do."""
    return work_ms * 4.6 / (1 - rate / capacity) if rate < capacity else 1e6


def best_rate(capacity: float, work_ms: float, slo_ms: float) -> float:
    """The rate at which p99 is the bound."""
    return max(0.0, capacity * (1 - work_ms * 4.6 / slo_ms))


@dataclass
class Surface:
    """Answers as a `Probe`, and counts the time that a real one would take.

    Args:
        capacity: Requests a second by setting.
        work_ms: Of one request.
        noise: Spread of what is seen of the p99, as a share.
        switch_s: What it takes to go over to another setting.
    """

    capacity: Capacity
    work_ms: Callable[[Setting], float] = lambda setting: 0.1
    noise: float = 0.0
    switch_s: float = 0.2
    clock: float = 0.0
    loads: int = 0
    served: Setting | None = None
    switches: int = 0
    generator: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def __call__(self, setting: Setting, rate: float | None, seconds: float) -> Seen:
        if setting != self.served:
            self.served, self.switches = setting, self.switches + 1
            self.clock += self.switch_s
        self.clock += seconds
        self.loads += 1
        capacity = self.capacity(setting)
        if capacity <= 0:
            return Seen(0.0, 0.0, 0, errors=1, why="it does not load")
        answered = min(rate or capacity, capacity)
        seen = p99_ms(rate or 2 * capacity, capacity, self.work_ms(setting))
        seen *= float(np.exp(self.noise * self.generator.standard_normal()))
        return Seen(answered, seen, max(1, int(answered * seconds)))

    def spent(self) -> float:
        return self.clock

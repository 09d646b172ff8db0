"""Tunes one model: serves it by the defaults, searches, and compares what is found with the defaults."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from falaj._core import InvalidInput
from falaj.server.tuning.confirm import ROUNDS, confirm
from falaj.server.tuning.rate import Seen
from falaj.server.tuning.search import Searched, Step, search
from falaj.server.tuning.setting import DEFAULTS, Setting, batches, space
from falaj.server.tuning.subject import Subject
from falaj.server.tuning.trial_server import Asking, Resolved, TrialServer
from falaj.server.tuning.tuned import Tuned

_SEARCHING = 0.6  # share of the time; the rest is for the comparison
_LEAST_SECONDS = 2.0
Tell = Callable[[float, str], None]  # the share of the time that is over, and what is being done


@dataclass(frozen=True)
class Variant:
    """A model file that answers as the original does, and whether the server batches it."""

    file: Path
    batched: bool


@dataclass(frozen=True)
class Goal:
    """What is searched for, and in how much time.

    Args:
        slo_ms: That 99 of 100 requests must be answered in.
        seconds: For search and comparison; loading the model comes on top.
        cores: That the model may use.
    """

    slo_ms: float
    seconds: float
    cores: int

    def __post_init__(self) -> None:
        if not self.slo_ms > 0:
            raise InvalidInput(f"slo_ms: expected more than 0, got {self.slo_ms}")
        if not self.seconds >= _LEAST_SECONDS:
            raise InvalidInput(f"seconds: expected {_LEAST_SECONDS:g} or more, got {self.seconds}")
        if self.cores < 1:
            raise InvalidInput(f"cores: expected 1 or more, got {self.cores}")


def tune_model(
    subject: Subject,
    goal: Goal,
    asking: Asking,
    variants: Mapping[str, Variant] | None = None,
    tell: Tell | None = None,
) -> Tuned:
    """Find the setting with which a model answers most requests a second inside the bound.

    The model is served from a copy, by a process that ends before this returns; its folder is not touched.

    Args:
        variants: What may serve in the model's place, by name.

    Raises:
        falaj errors: The model is not served by its defaults, or cannot be asked.
        ConfigError: Its configuration is wrong.
    """
    begin = time.monotonic()
    made = variants or {}
    files = {name: variant.file for name, variant in made.items()}
    with TrialServer(subject, asking, goal.slo_ms, files, cores=goal.cores) as server:
        server.serve(DEFAULTS)
        defaults = server.resolved()
        server.ask_once()
        settings = _settings(goal, defaults, {name: variant.batched for name, variant in made.items()})
        switch_s = server.seconds_to_serve(settings[-1])
        watch = _Watch(goal.seconds, tell)
        searched = _search(server, settings, goal, watch, switch_s)
        choice = next((each for each in searched.tried if each.setting != DEFAULTS), None)
        compared = None
        if choice is not None and choice.found.rate > 0:
            known = next(each.found for each in searched.tried if each.setting == DEFAULTS)
            compared = confirm(
                choice.setting,
                server,
                goal.slo_ms,
                goal.seconds - watch.spent(),
                _Watch(goal.seconds - watch.spent()).spent,
                known=(known, choice.found),
                tell=lambda round_, which: watch.tell(
                    f"comparing, round {round_ + 1} of {ROUNDS}: {which.text()}"
                ),
            )
    seconds = time.monotonic() - begin
    setting = None if choice is None else choice.setting
    return Tuned(goal.slo_ms, searched, defaults, setting, compared, seconds)


class _Watch:
    """Seconds since it was made, and what is told of them."""

    def __init__(self, seconds: float, tell: Tell | None = None) -> None:
        self._begin, self._seconds, self._tell = time.monotonic(), seconds, tell

    def spent(self) -> float:
        return time.monotonic() - self._begin

    def tell(self, what: str) -> None:
        if self._tell is not None:
            self._tell(min(1.0, self.spent() / self._seconds), what)


def _search(
    server: TrialServer, settings: list[Setting], goal: Goal, watch: _Watch, switch_s: float
) -> Searched:
    best = 0.0

    def probe(setting: Setting, rate: float | None, seconds: float) -> Seen:
        nonlocal best
        seen = server(setting, rate, seconds)
        if rate is not None and seen.errors == 0 and seen.p99_ms <= goal.slo_ms:
            best = max(best, seen.throughput)
        return seen

    def tell(step: Step) -> None:
        so_far = f"; best {best:,.0f}/s" if best else ""
        place = f"round {step.round + 1}, {step.number + 1} of {step.of}"
        watch.tell(f"{place}: {step.setting.text()}{so_far}")

    seconds = _SEARCHING * goal.seconds
    return search(settings, probe, goal.slo_ms, seconds, watch.spent, tell, switch_s=switch_s)


def _settings(goal: Goal, defaults: Resolved, variants: Mapping[str, bool]) -> list[Setting]:
    """The defaults, and what is worth trying beside them."""
    same = Setting(
        instances=defaults.instances,
        threads=defaults.threads,
        max_batch_size=defaults.max_batch_size,
    )
    # What was not found to be batchable is not batched, unless its configuration said so.
    rows = batches(defaults.max_batch_size, batchable=defaults.max_batch_size > 0)
    has_threads = defaults.threads is not None
    return [DEFAULTS, *space(goal.cores, variants, rows=rows, has_threads=has_threads, like_defaults=same)]

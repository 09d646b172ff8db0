"""What a search came to: the choice, whether it is better than the defaults, and by how much."""

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from falaj.server.tuning.confirm import Compared
from falaj.server.tuning.rate import Sustained
from falaj.server.tuning.search import Searched, Tried
from falaj.server.tuning.setting import DEFAULTS, Setting
from falaj.server.tuning.trial_server import Resolved

if TYPE_CHECKING:
    from rich.table import Table

_SHOWN = 12


@dataclass(frozen=True)
class Tuned:
    """The result of a search.

    Attributes:
        slo_ms: The bound that 99 of 100 requests had to be inside of.
        defaults: What the defaults turned out to be.
        choice: The best setting beside the defaults; None where nothing else could be tried.
        compared: The two in turns; None without a choice that held any rate.
        seconds: That all of it took.
        variants: Lines about the variants that were made.
    """

    slo_ms: float
    searched: Searched
    defaults: Resolved
    choice: Setting | None
    compared: Compared | None
    seconds: float
    variants: tuple[str, ...] = ()

    @property
    def better(self) -> bool:
        """Whether the choice is worth writing down."""
        return self.compared is not None and self.compared.better

    def lines(self) -> list[str]:
        """Return the result in a few lines."""
        tried = f"{len(self.searched.tried)} settings tried"
        if self.searched.left_out:
            tried += f", {self.searched.left_out} left out: there was no time for them (--seconds)"
        told = [*self.variants, f"{tried}; {self.seconds:.0f} s"]
        if self.choice is None or self.compared is None:
            return [*told, self._why_none()]
        compared = self.compared
        told.append(f"defaults ({_resolved(self.defaults)}): {_rates(compared.defaults)}")
        told.append(f"{self.choice.text()}: {_rates(compared.setting)}")
        if math.isinf(compared.gain):
            told.append(f"the defaults hold no rate inside {self.slo_ms:g} ms, the setting does")
        else:
            told.append(
                f"in turns, {len(compared.setting)} rounds: x {compared.gain:.2f} "
                f"({compared.low:.2f}..{compared.high:.2f})"
            )
        if not self.better:
            told.append("the defaults are best: no setting is faster by more than what chance makes")
        return told

    def table(self) -> "Table":
        """Return the settings for a terminal, the best first."""
        from rich.table import Table

        table = Table(box=None)
        table.add_column("setting", no_wrap=True)
        for name in (f"requests/s inside {self.slo_ms:g} ms", "p99 ms", "looks"):
            table.add_column(name, justify="right")
        table.add_column("")
        for tried in self.searched.tried[:_SHOWN]:
            table.add_row(*_cells(tried))
        return table

    def plain(self) -> dict[str, Any]:
        """Return it as JSON can have it: what is infinite as null."""
        return {
            "slo_ms": self.slo_ms,
            "seconds": self.seconds,
            "better": self.better,
            "choice": None if self.choice is None else asdict(self.choice),
            "defaults": asdict(self.defaults),
            "compared": None if self.compared is None else _finite(asdict(self.compared)),
            "tried": [_finite(asdict(tried)) for tried in self.searched.tried],
            "left_out": self.searched.left_out,
        }

    def _why_none(self) -> str:
        why = next((tried.found.why for tried in self.searched.tried if tried.found.why), "")
        if self.choice is None:
            return "the defaults are best: there is nothing else to set"
        lowest = min(tried.found.p99_ms for tried in self.searched.tried)
        told = f"no setting holds any rate inside {self.slo_ms:g} ms"
        if not math.isinf(lowest):
            told += f"; the lowest p99 that was seen is {lowest:.3g} ms"
        return f"{told}; the last that went wrong: {why}" if why else told


def _cells(tried: Tried) -> tuple[str, ...]:
    found = tried.found
    name = "defaults" if tried.setting == DEFAULTS else tried.setting.text()
    p99 = "" if math.isinf(found.p99_ms) else f"{found.p99_ms:.2f}"
    rate = f"{found.rate:,.0f}" if found.rate > 0 else "none"
    return name, rate, p99, str(tried.round + 1), "" if found.rate > 0 else found.why[:60]


def _rates(found: tuple[Sustained, ...]) -> str:
    rates = sorted(each.rate for each in found)
    middle = rates[len(rates) // 2]
    return f"{middle:,.0f} requests/s ({rates[0]:,.0f}..{rates[-1]:,.0f})"


def _resolved(resolved: Resolved) -> str:
    return Setting(
        instances=resolved.instances, threads=resolved.threads, max_batch_size=resolved.max_batch_size
    ).text()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

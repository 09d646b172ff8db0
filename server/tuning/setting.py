"""Ways to serve a model, and which of them are worth trying."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

ORIGINAL = "original"
_BATCHES = (8, 32, 128)


@dataclass(frozen=True)
class Setting:
    """One way to serve a model. None: as its configuration has it; by default that is to choose at load.

    Args:
        variant: Of its graph, by the name that `falaj optimize` has for it.
        instances: Batches that run at a time.
        threads: Of one run.
        max_batch_size: Rows of a batch; 0: never batch.
    """

    variant: str = ORIGINAL
    instances: int | None = None
    threads: int | None = None
    max_batch_size: int | None = None

    def keys(self) -> dict[str, int]:
        """Return what it sets, by the names of `model.toml`."""
        values = {
            "max_batch_size": self.max_batch_size,
            "instances": self.instances,
            "threads": self.threads,
        }
        return {key: value for key, value in values.items() if value is not None}

    def text(self) -> str:
        """Return `int8-static, 2 instances x 1 thread, 32 rows`; `defaults` where it sets nothing."""
        told = [] if self.variant == ORIGINAL else [self.variant]
        if self.instances is not None:
            threads = "" if self.threads is None else f" x {_count(self.threads, 'thread')}"
            told.append(f"{_count(self.instances, 'instance')}{threads}")
        if self.max_batch_size is not None:
            told.append("never batch" if self.max_batch_size == 0 else _count(self.max_batch_size, "row"))
        return ", ".join(told) or "defaults"


DEFAULTS = Setting()


def space(
    cores: int,
    variants: Mapping[str, bool],
    *,
    rows: Sequence[int],
    has_threads: bool = True,
    like_defaults: Setting | None = None,
) -> list[Setting]:
    """Return the settings worth trying, the likeliest first, so that a short search tries those.

    Instances and threads are powers of two, and all cores, whose product keeps no more cores busy than there
    are. Every variant is tried with each of them; batches of other bounds come last.

    Args:
        cores: That models may use.
        variants: Names beside the original's, and whether each is batched: rows of one whose answers change
            with the rest of a batch run alone.
        rows: Bounds of a batch, as `batches` has them.
        has_threads: Whether a run's threads are set; where they are not, it is code that mostly waits, of
            which more instances than cores may pay.
        like_defaults: What the defaults turned out to be; is left out, since the defaults are tried anyway.
    """
    sizes = sorted({*(2**power for power in range(cores.bit_length())), cores}, reverse=True)
    pairs = _pairs(sizes, cores) if has_threads else [(size, None) for size in (*sizes, 2 * cores, 4 * cores)]
    settings = [
        Setting(variant, instances, threads, bound)
        for bound in sorted(rows, key=_how_unlikely)
        for instances, threads in pairs
        for variant in (
            ORIGINAL,
            *(name for name, batched in variants.items() if batched or bound == rows[0]),
        )
    ]
    alone = [name for name, batched in variants.items() if not batched]
    settings = [replace(each, max_batch_size=0) if each.variant in alone else each for each in settings]
    return [setting for setting in settings if setting != like_defaults]


def _pairs(sizes: Sequence[int], cores: int) -> list[tuple[int, int | None]]:
    """Instances and threads. All cores busy first: fewer pay where memory is what bounds."""
    pairs = [pair for pair in product(sizes, reversed(sizes)) if pair[0] * pair[1] <= cores]
    return [*sorted(pairs, key=lambda pair: -pair[0] * pair[1])]


def batches(defaults: int, *, batchable: bool) -> tuple[int, ...]:
    """Return bounds of a batch to try. `defaults`: the one that was chosen at load, 0 for none."""
    if not batchable:
        return (defaults,)
    return _unique([defaults, *_BATCHES])


def _how_unlikely(rows: int) -> int:
    likely = (32, 128, 8)
    return likely.index(rows) if rows in likely else len(likely)


def _unique(values: Iterable[int]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(values))


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"

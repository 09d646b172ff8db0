"""How many threads there are to use."""

import os

from falaj.training.fit.spec import Kind


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    return len(os.sched_getaffinity(0))


def default_threads(kind: Kind) -> int:
    """Return how many threads a fit of a kind has where nothing is said.

    Batches of an mlp are so small that the threads' waiting for each other takes longer than they save.
    """
    return 1 if kind == "mlp" else usable_cores()

"""A connection to Ray: to the cluster of RAY_ADDRESS, or to one on this machine that ends with it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from falaj.training.errors import TrainingError
from falaj.training.fit.estimators.job import library

_OBJECT_STORE_BYTES = 100 * 1024 * 1024  # of a cluster that is begun here: trials and weights are small
_SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


@contextmanager
def connected() -> Iterator[None]:
    """Have this process connected to Ray while the context lasts. Nothing is told to Ray's makers.

    Raises:
        TrainingError: Ray is missing, or the cluster of RAY_ADDRESS cannot be reached.
    """
    with library("ray", "ray"):
        import ray

    address = os.environ.get("RAY_ADDRESS")
    with _environment():
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
        if address is None:
            options |= {"include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
            options |= {"address": "local", "_node_ip_address": "127.0.0.1"}
        elif address.startswith("127."):
            # Ray takes this machine's outer address for its own, where no such node is found.
            options["_node_ip_address"] = address.rpartition(":")[0]
        try:
            ray.init(**options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise TrainingError(f"ray, {address or 'on this machine'}: {error}") from error
        try:
            yield
        finally:
            ray.shutdown()


@contextmanager
def _environment() -> Iterator[None]:
    """Ray's settings, which it takes from the environment alone, where nothing else is set."""
    added = {name: value for name, value in _SETTINGS.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def told_of(error: Exception) -> TrainingError:
    """Return what an actor's error says, as one of ours."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, TrainingError):
        return cause
    lines = str(cause or error).strip().splitlines()
    return TrainingError(f"ray: {type(cause or error).__name__}: {lines[-1] if lines else ''}")

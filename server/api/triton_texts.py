"""Triton's words for what goes wrong, for clients that look at them. Statuses stay those of the protocol."""

from falaj._core import InvalidInput, NotFound, Unavailable

CONTROL_IS_OFF = "explicit model load / unload is not allowed if polling is enabled"


def unknown_model(name: str, version: int | None) -> NotFound:
    """No such model, or no such version of it."""
    which = f"'{name}'" if version is None else f"'{name}' version {version}"
    return NotFound(f"Request for unknown model: {which} is not found")


def not_in_service(name: str, version: int | None) -> NotFound | Unavailable:
    """The model is known, and nothing of it answers."""
    if version is None:
        return NotFound(f"Request for unknown model: '{name}' has no available versions")
    return Unavailable(f"Request for unknown model: '{name}' version {version} is not at ready state")


def no_statistics(name: str, version: int | None) -> NotFound:
    """Statistics of what is not in service."""
    if version is None:
        return NotFound(f"requested model '{name}' is not available")
    return NotFound(f"requested model version is not available for model '{name}'")


def not_loaded(name: str) -> NotFound:
    """There is nothing to be loaded under this name."""
    return NotFound(f"failed to load '{name}', failed to poll from model repository")


def load_failed(name: str, why: str) -> InvalidInput:
    """What there is could not be loaded."""
    return InvalidInput(f"load failed for model '{name}': {why}\n")


def bad_version(text: str) -> InvalidInput:
    """The version in a path or message is no number."""
    return InvalidInput(
        f"failed to get model version from specified version string '{text}' (details: stol), version "
        "should be an integral value > 0"
    )

"""The regions of system shared memory, as the protocol's extension asks of them."""

from typing import Any

from falaj import _core

NOT_ALLOWED = "system shared memory is not served here: start the server with --allow-shared-memory"
CUDA_IS_NOT_SERVED = "CUDA shared memory is not served; system shared memory is, where the server allows it"


class SharedRegions:
    """Operations over a registry. Thread-safe, and quick.

    Every operation raises Unsupported where the registry is None: shared memory is not allowed.
    """

    def __init__(self, registry: _core.SharedMemory | None) -> None:
        self._registry = registry

    @property
    def are_served(self) -> bool:
        """Whether clients may register any."""
        return self._registry is not None

    def require(self) -> None:
        """Raise Unsupported where none are allowed."""
        self._known()

    def status(self, name: str) -> list[dict[str, Any]]:
        """Name, key, offset and byte_size of one region, of all where `name` is empty. Raises
        InvalidInput."""
        rows = [
            {"name": known, "key": key, "offset": offset, "byte_size": byte_size}
            for known, key, offset, byte_size in self._known().regions()
            if name in ("", known)
        ]
        if name and not rows:
            raise _core.InvalidInput(f"Unable to find system shared memory region: '{name}'")
        return rows

    def register(self, name: str, key: str, offset: int, byte_size: int) -> None:
        """Register a region. Raises InvalidInput, NotFound or Unavailable."""
        self._known().register(name, key, offset, byte_size)

    def unregister(self, name: str) -> None:
        """Unregister a region, all where `name` is empty; requests that use it go on. An unknown one is none,
        as Triton has it."""
        if name:
            self._known().unregister(name)
        else:
            self._known().unregister_all()

    def _known(self) -> _core.SharedMemory:
        if self._registry is None:
            raise _core.Unsupported(NOT_ALLOWED)
        return self._registry

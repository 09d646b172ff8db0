"""Failures as gRPC statuses (docs: the protocol's status mapping)."""

from falaj import _core

INVALID_ARGUMENT = 3
NOT_FOUND = 5
UNIMPLEMENTED = 12
INTERNAL = 13

_STATUSES: tuple[tuple[type[_core.Error], int], ...] = (
    (_core.InvalidInput, INVALID_ARGUMENT),
    (_core.NotFound, NOT_FOUND),
    (_core.Unavailable, 14),
    (_core.DeadlineExceeded, 4),
    (_core.Cancelled, 1),
    (_core.Unsupported, UNIMPLEMENTED),
)


class GrpcFailure(Exception):
    """A gRPC status other than OK.

    Args:
        status: its number.
        text: its message.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def failure_of(error: _core.Error) -> GrpcFailure:
    """Return an error of ours as what a gRPC client is told."""
    status = next((number for kind, number in _STATUSES if isinstance(error, kind)), INTERNAL)
    return GrpcFailure(status, str(error))

"""A file that was read or written, as it was then."""

from dataclasses import dataclass


@dataclass(frozen=True)
class FileSeen:
    """A file as it was read or written: its path as it was given, its size, and its SHA-256 in hex."""

    path: str
    bytes: int
    sha256: str

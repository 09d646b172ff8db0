"""Where log lines go: standard error, or a file that is appended to."""

import os
import threading

from falaj.server.errors import ConfigError

_STDERR = 2


class LogOutput:
    """Thread-safe. A line is written whole or, where the disk is full or the reader is gone, dropped and
    counted: a log that fails stops no server.

    Args:
        path: A file, made with mode 0640 where it is not there; None for standard error.

    Raises:
        ConfigError: the file cannot be opened for appending.
    """

    def __init__(self, path: str | None) -> None:
        self._lock = threading.Lock()
        self._path = path
        self._fd = _open(path)
        self._dropped = 0

    @property
    def path(self) -> str | None:
        """The file, None for standard error."""
        return self._path

    @property
    def dropped(self) -> int:
        """Lines that could not be written."""
        return self._dropped

    def write(self, line: bytes) -> None:
        """Append a line, its newline included."""
        with self._lock:
            rest = memoryview(line)
            try:
                while rest:
                    rest = rest[os.write(self._fd, rest) :]
            except OSError:
                self._dropped += 1

    def open(self, path: str | None) -> None:
        """Go on in another file, or in the same one anew after it was renamed. Raises ConfigError and then
        goes on where it was."""
        fd = _open(path)
        with self._lock:
            old, self._fd, self._path = self._fd, fd, path
        _close(old)

    def close(self) -> None:
        """Close the file; lines that come later go to standard error. Idempotent."""
        with self._lock:
            old, self._fd = self._fd, _STDERR
        _close(old)


def _open(path: str | None) -> int:
    if path is None:
        return _STDERR
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot be opened for appending: {error}", key="log.file") from error


def _close(fd: int) -> None:
    if fd != _STDERR:
        os.close(fd)

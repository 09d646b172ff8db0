"""The server's log: what is written down at the moment, and how that is changed while it runs.

Only the logger "falaj" and those below it are touched. Lines never hold tensors, headers or secrets: callers
give none of them, and the access log has no field for them.
"""

import logging
import random
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from falaj._core import InvalidInput
from falaj.server.ops.log_lines import event_of, json_line, text_line
from falaj.server.ops.log_output import LogOutput
from falaj.server.ops.settings import Log
from falaj.server.strict_toml import did_you_mean

# Verbosity n shows records of these levels: 1 shows DEBUG (10), 2 also 9, and so on.
_VERBOSE_BASE = logging.DEBUG + 1
_VERBOSE_MAX = 2**32 - 1
_FORMATS = ("default", "ISO8601")


@dataclass(frozen=True)
class _Chosen:
    """One state of the switches; replaced whole."""

    info: bool
    warning: bool
    error: bool
    verbose: int
    times: str  # "default" or "ISO8601": how the text form writes them

    def shows(self, level: int) -> bool:
        if level >= logging.ERROR:
            return self.error
        if level >= logging.WARNING:
            return self.warning
        if level >= logging.INFO:
            return self.info
        return self.verbose > 0 and level >= _VERBOSE_BASE - self.verbose

    def threshold(self) -> int:
        """The least level that can be shown."""
        if self.verbose > 0:
            return max(1, _VERBOSE_BASE - self.verbose)
        for shown, level in ((self.info, logging.INFO), (self.warning, logging.WARNING)):
            if shown:
                return level
        return logging.ERROR


class LogSettings:
    """The protocol's logging extension: six settings that are read and changed while the server runs.
    Thread-safe."""

    def __init__(self, log: Log, output: LogOutput, changed: Callable[[], None]) -> None:
        self._lock = threading.Lock()
        self._output = output
        self._changed = changed
        self._chosen = _chosen_by(log)

    @property
    def chosen(self) -> _Chosen:
        """The state at this moment."""
        return self._chosen

    def as_dict(self) -> dict[str, bool | int | str]:
        """Return the settings under the protocol's names. `log_file` is empty for standard error."""
        chosen = self._chosen
        return {
            "log_file": self._output.path or "",
            "log_info": chosen.info,
            "log_warning": chosen.warning,
            "log_error": chosen.error,
            "log_verbose_level": chosen.verbose,
            "log_format": chosen.times,
        }

    def update(self, values: Mapping[str, Any]) -> None:
        """Change what is named in `values`, all or nothing.

        Raises InvalidInput: an unknown name, a value of the wrong type or out of range, or another
        `log_file`, which would let anyone who reaches the port write to files of the server's choice of disk.
        """
        with self._lock:
            chosen = self._chosen
            for name, value in values.items():
                chosen = self._changed_by(chosen, name, value)
            self._chosen = chosen
        self._changed()

    def reset(self, log: Log) -> None:
        """Go back to what the configuration says."""
        with self._lock:
            self._chosen = replace(_chosen_by(log), times=self._chosen.times)
        self._changed()

    def _changed_by(self, chosen: _Chosen, name: str, value: object) -> _Chosen:
        known = self.as_dict()
        if name not in known:
            raise InvalidInput(f"log setting '{name}' is unknown{did_you_mean(name, known)}")
        if type(value) is not type(known[name]):
            wanted = {bool: "true or false", int: "a whole number", str: "text"}[type(known[name])]
            raise InvalidInput(f"log setting '{name}': expected {wanted}, got {value!r}")
        if name == "log_file":
            if value != known[name]:
                raise InvalidInput("log setting 'log_file' can only be changed in the server's configuration")
            return chosen
        if name == "log_format":
            if value not in _FORMATS:
                raise InvalidInput(
                    f"log setting 'log_format': expected {' or '.join(_FORMATS)}, got {value!r}"
                )
            return replace(chosen, times=str(value))
        if name == "log_verbose_level":
            assert isinstance(value, int)
            if not 0 <= value <= _VERBOSE_MAX:
                raise InvalidInput(f"log setting '{name}': expected 0 to {_VERBOSE_MAX}, got {value}")
            return replace(chosen, verbose=value)
        switch: dict[str, Any] = {name.removeprefix("log_"): value}
        return replace(chosen, **switch)


class Logs:
    """The log of a running server. Thread-safe; made by `configure`."""

    def __init__(self, log: Log) -> None:
        self._json = _is_json(log)
        self._output = LogOutput(log.file)
        self._logger = logging.getLogger("falaj")
        self._handler = _Handler(self)
        # The native side picks requests for the access log at the share that was set at the start; of those
        # we can only drop more.
        self._picked = self._share = log.access_log_sample
        self.settings = LogSettings(log, self._output, self._set_level)
        self._set_level()
        self._logger.propagate = False
        self._logger.addHandler(self._handler)

    @property
    def dropped(self) -> int:
        """Lines that could not be written."""
        return self._output.dropped

    def write(self, event: Mapping[str, Any]) -> None:
        """Write one event: ts (seconds since the epoch), level, logger, msg and any fields."""
        if self._json:
            self._output.write(json_line(event))
        else:
            self._output.write(text_line(event, iso8601=self.settings.chosen.times == "ISO8601"))

    def access(self, record: tuple[Any, ...]) -> None:
        """Write the line of one request, unless the share of them was lowered since the start.

        Args:
            record: ("access", listener, method, target, request_id, peer_address, status, bytes_in,
                bytes_out, duration_us), as WireServer.take gives it: what the client wrote is bytes.
        """
        if self._share < self._picked and random.random() * self._picked >= self._share:
            return
        _, listener, method, target, request_id, peer, status, bytes_in, bytes_out, duration_us = record
        method, target, request_id = (_text(raw) for raw in (method, target, request_id))
        self.write(
            {
                "ts": time.time(),
                "level": "info",
                "logger": "falaj.access",
                "msg": "request",
                "listener": listener,
                "method": method,
                "target": target.partition("?")[0],  # a query may hold a secret
                "status": status,
                "duration_us": duration_us,
                "bytes_in": bytes_in,
                "bytes_out": bytes_out,
                "peer": peer,
                "request_id": request_id,
            }
        )

    def apply(self, log: Log) -> None:
        """Take over changed settings and open the file anew. Raises ConfigError and then changes nothing."""
        self._output.open(log.file)
        self._json = _is_json(log)
        self._share = log.access_log_sample
        self.settings.reset(log)
        if self._share > self._picked:
            self._logger.warning(
                "log.access_log_sample is %s at most until the next start, not %s", self._picked, self._share
            )

    def close(self) -> None:
        """Leave the logger as it was found. Idempotent."""
        if self._handler in self._logger.handlers:
            self._logger.removeHandler(self._handler)
            self._logger.propagate = True
            self._logger.setLevel(logging.NOTSET)
        self._output.close()

    def _set_level(self) -> None:
        self._logger.setLevel(self.settings.chosen.threshold())


class _Handler(logging.Handler):
    def __init__(self, logs: Logs) -> None:
        super().__init__()
        self._logs = logs

    def emit(self, record: logging.LogRecord) -> None:
        if self._logs.settings.chosen.shows(record.levelno):
            self._logs.write(event_of(record))


def configure(log: Log) -> Logs:
    """Have the logger "falaj" write as `log` says, until the result is closed. Raises ConfigError."""
    return Logs(log)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")


def _is_json(log: Log) -> bool:
    if log.format is not None:
        return log.format == "json"
    return log.file is not None or sys.stderr is None or not sys.stderr.isatty()


def _chosen_by(log: Log) -> _Chosen:
    verbose = max(log.verbose, 1) if log.level == "debug" else log.verbose
    return _Chosen(
        info=log.level in ("debug", "info"), warning=log.level != "error", error=True, verbose=verbose,
        times="default",
    )  # fmt: skip

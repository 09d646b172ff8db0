"""The command line, run in this process."""

import sys
from collections.abc import Callable

import pytest

from falaj.server.cli import main

Run = Callable[..., tuple[int, str, str]]
"""Takes arguments; returns the exit status, and what was written to stdout and to stderr."""


def command_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *first: str) -> Run:
    """Return what runs `falaj` with `first`, and then what it is given."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["falaj", *first, *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        written = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, written.out, written.err

    return run

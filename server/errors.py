"""Errors of the control plane."""

from falaj._core import InvalidInput


class ConfigError(InvalidInput):
    """A setting that cannot be used.

    The message reads `file: key: what was wrong and what was expected`; the three parts are also attributes.

    Args:
        problem: What was wrong with which value, and what was expected.
        key: Path of the key inside the file, such as `input[1].pad_axis`; empty where no one key is to blame.
        source: The file (or other origin) that the key was read from; empty where there is none.
    """

    def __init__(self, problem: str, *, key: str = "", source: str = "") -> None:
        super().__init__(": ".join(part for part in (source, key, problem) if part))
        self.problem = problem
        self.key = key
        self.source = source

    def within(self, parent: str) -> "ConfigError":
        """Return the same error with its key path seen from one table further out."""
        return ConfigError(self.problem, key=join_key(parent, self.key), source=self.source)

    def from_source(self, source: str) -> "ConfigError":
        """Return the same error, naming the file that it was found in."""
        return ConfigError(self.problem, key=self.key, source=source)


def join_key(parent: str, child: str) -> str:
    """Return the path of `child` inside `parent`; either may be empty, and an index needs no dot."""
    dot = "" if not parent or not child or child.startswith("[") else "."
    return f"{parent}{dot}{child}"

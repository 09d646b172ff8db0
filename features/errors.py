"""Errors of features."""

from falaj._core import InvalidInput


class DefinitionError(InvalidInput):
    """A definition that cannot be used. The message begins with the path to what is wrong in it."""


class UnknownView(DefinitionError):
    """A view, or a version of one, that is not registered."""


class DataError(InvalidInput):
    """Data of a source or a spine that does not fit its definition."""

"""Errors of training and export."""

from falaj._core import InvalidInput


class TrainingError(InvalidInput):
    """A specification, data or a model that cannot be used. The message begins with where it is wrong."""


class ExportRefused(InvalidInput):
    """An export whose answers are not those of the model that it was made from; the message says which."""

"""The online store of a server, and models that look their features up in it."""

import threading

import numpy as np

from falaj import _core
from falaj.features.binding import Binding, Feature
from falaj.features.errors import DataError, DefinitionError
from falaj.features.online.store import open_store, open_view
from falaj.features.view import Column, View
from falaj.server import arrays
from falaj.server.errors import ConfigError


class OnlineFeatures:
    """The store at a URL, opened when a model first needs it. Thread-safe.

    Args:
        url: See falaj.features.online.store.open_store; None: there is none.
    """

    def __init__(self, url: str | None) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._store: _core.OnlineStore | None = None

    def store(self) -> _core.OnlineStore:
        """Return the store. Raises ConfigError where there is none, or it cannot be opened."""
        with self._lock:
            if self._store is None:
                if self._url is None:
                    raise ConfigError("no online store is configured: set features.store to its URL")
                try:
                    self._store = open_store(self._url)
                except (DefinitionError, DataError) as error:
                    raise ConfigError(str(error)) from error
            return self._store

    def join(self, model: _core.Backend, binding: Binding) -> _core.Backend:
        """Return a backend that is asked by keys, and asks `model`, which it takes over, by features.

        Raises:
            ConfigError: The store cannot be opened.
            InvalidInput: The binding does not fit the model, or the store has a view by another definition.
        """
        store = self.store()
        views = [(open_view(store, bound.view), bound.on_missing) for bound in binding.views]
        place = {bound.view.name: (index, bound.view) for index, bound in enumerate(binding.views)}
        features = list(binding.features)
        told = []
        for feature in features:
            index, view = place[feature.view]
            told.append((index, feature.column, _default(view, feature.column)))
        inputs: list[tuple[str, list[tuple[int] | tuple[str, str]]]] = [
            (
                bound.name,
                [
                    (features.index(column),)
                    if isinstance(column, Feature)
                    else (column.name, column.datatype)
                    for column in bound.columns
                ],
            )
            for bound in binding.inputs
        ]
        return _core.join_features(model, views, told, inputs)


def _default(view: View, name: str) -> bytes | None:
    """An element's bytes, or the text; None where the column has no default."""
    (column,) = (each for each in view.features if each.name == name)
    return None if column.default is None else _element(column)


def _element(column: Column) -> bytes:
    if column.datatype == "BYTES":
        return str(column.default).encode()
    return np.array([column.default], dtype=arrays.numpy_type(column.datatype)).tobytes()

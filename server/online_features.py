"""The online store of a server, and models that look their features up in it."""

import threading
from typing import TYPE_CHECKING

import numpy as np

from falaj import _core
from falaj.features.binding import Binding, Feature
from falaj.features.errors import DataError, DefinitionError
from falaj.features.online.store import open_store, open_view
from falaj.features.view import Column, View
from falaj.server import arrays
from falaj.server.errors import ConfigError

if TYPE_CHECKING:
    from falaj.server.feature_log import FeatureLog


class OnlineFeatures:
    """The store at a URL, opened when a model first needs it. Thread-safe.

    Args:
        url: See falaj.features.online.store.open_store; None: there is none.
        log: Gets what a share of the requests was served with; None: nothing does.
        as_of: Whether requests may say as of when they are looked up, and what they push is.

    Attributes:
        as_of: The same.
    """

    def __init__(self, url: str | None, log: "FeatureLog | None" = None, *, as_of: bool = False) -> None:
        self._url = url
        self._log = log
        self.as_of = as_of
        self._lock = threading.Lock()
        self._store: _core.OnlineStore | None = None
        self._opened: dict[str, _core.OnlineView] = {}  # by name@version

    def opened(self) -> dict[str, _core.OnlineView]:
        """Return the views that models look up, or clients have asked for, by name@version."""
        with self._lock:
            return dict(self._opened)

    def note(self, view: View, online: _core.OnlineView) -> None:
        """Have a view be one of `opened`."""
        with self._lock:
            self._opened[f"{view.name}@{view.version}"] = online

    @property
    def is_shared(self) -> bool:
        """Whether it is elsewhere, so that asking it takes a while."""
        return self._url is not None and not self._url.startswith("lmdb://")

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

    def join(self, model: _core.Backend, binding: Binding, name: str, version: int) -> _core.Backend:
        """Return a backend that is asked by keys, and asks `model`, which it takes over, by features.

        Args:
            name: Of the model, and
            version: its number, for the log.

        Raises:
            ConfigError: The store cannot be opened.
            InvalidInput: The binding does not fit the model, or the store has a view by another definition.
        """
        store = self.store()
        views = [
            (
                open_view(store, bound.view),
                bound.on_missing,
                None if bound.budget_ms is None else round(bound.budget_ms * 1e6),
                round(bound.max_staleness_ms * 1e6),
            )
            for bound in binding.views
        ]
        place = {bound.view.name: (index, bound.view) for index, bound in enumerate(binding.views)}
        for bound, (online, *_) in zip(binding.views, views, strict=True):
            self.note(bound.view, online)
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
        if self._log is None:
            return _core.join_features(model, views, told, inputs, as_of=self.as_of)
        log = self._log.new_buffer()
        joined = _core.join_features(model, views, told, inputs, as_of=self.as_of, log=log)
        self._log.follow(log, name, version, binding, [view for view, *_ in views])
        return joined


def _default(view: View, name: str) -> bytes | None:
    """An element's bytes, or the text; None where the column has no default."""
    (column,) = (each for each in view.features if each.name == name)
    return None if column.default is None else _element(column)


def _element(column: Column) -> bytes:
    if column.datatype == "BYTES":
        return str(column.default).encode()
    return np.array([column.default], dtype=arrays.numpy_type(column.datatype)).tobytes()

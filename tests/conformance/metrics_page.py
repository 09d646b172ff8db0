"""The page of metrics, read."""

import threading
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.conformance.exchange import Http
from tests.conformance.target import Target

_PATIENCE = 60  # seconds


class Page:
    """The samples of one look at the page."""

    def __init__(self, target: Target) -> None:
        answer = Http(target.metrics).get("/metrics")
        assert answer.status == 200
        assert (answer.header("content-type") or "").startswith("text/plain")
        self.text = answer.body.decode()

    @cached_property
    def families(self) -> dict[str, Any]:
        """The families by their names."""
        return {family.name: family for family in text_string_to_metric_families(self.text)}

    def samples(self, name: str) -> Iterator[Any]:
        """The samples of this very name, to which the parser adds the `_total` of newer formats."""
        assert f"\n{name}{{" in self.text or f"\n{name} " in self.text
        return (one for one in self.families[name].samples if one.name.removesuffix("_total") == name)

    def value(self, name: str, **labels: str) -> float:
        """The one sample with these labels and no others."""
        (found,) = [sample.value for sample in self.samples(name) if sample.labels == labels]
        return float(found)


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for what the server does on its own."""
    end, pause = time.monotonic() + _PATIENCE, threading.Event()
    while not condition():
        assert time.monotonic() < end, f"it did not happen: {what}"
        pause.wait(0.01)

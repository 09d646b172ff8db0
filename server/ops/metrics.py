"""The page of metrics, made when somebody asks for it."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from falaj import _core
from falaj.server.engine import Engine
from falaj.server.ops.feature_metrics import age_metrics, audit_metrics, log_metrics, push_metrics
from falaj.server.ops.machine_metrics import Gpus, Machine
from falaj.server.ops.model_metrics import model_metrics
from falaj.server.ops.trace_metrics import trace_metrics
from falaj.server.ops.wire_metrics import WireStats, wire_metrics
from falaj.server.versions import versions

if TYPE_CHECKING:
    from falaj.server.feature_log import FeatureLog
    from falaj.server.feature_service import FeatureService
    from falaj.server.tracing.service import TraceService

# Dashboards ask for counters by names without `_total`, which OpenMetrics does not have for a counter, so
# they are of unknown type there. The older text format has them, and there they are told to be counters.
_UNTYPED = re.compile(rb"^(# TYPE nv_\w+) untyped$", re.MULTILINE)


class MetricsCollector(Collector):
    """Reads engine and front end when the page is asked for. Thread-safe; has a registry of its own."""

    def __init__(
        self,
        engine: Engine,
        wire: WireStats,
        *,
        histograms: bool = True,
        gpu: bool = True,
        features: "FeatureService | None" = None,
        feature_log: "FeatureLog | None" = None,
        audit: Path | None = None,
        traces: "TraceService | None" = None,
    ) -> None:
        self._engine = engine
        self._wire = wire
        self._histograms = histograms
        self._features = features
        self._feature_log = feature_log
        self._audit = audit
        self._traces = traces
        self._machine = Machine()
        self._gpus = Gpus() if gpu else None
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """Return the page and its content type: OpenMetrics where the Accept header asks for it, else the
        text format of Prometheus."""
        encode, content_type = choose_encoder(accept)
        page = encode(self._registry)
        if not content_type.startswith("application/openmetrics-text"):
            page = _UNTYPED.sub(rb"\1 counter", page)
        return page, content_type

    def collect(self) -> Iterable[Metric]:
        """Yield every metric; those of models only while the engine is open."""
        try:
            rows = self._engine.stats()
        except _core.Unavailable:
            rows = []
        yield from model_metrics(rows, histograms=self._histograms)
        yield from wire_metrics(self._wire, histograms=self._histograms)
        yield from push_metrics(self._features, histograms=self._histograms)
        yield from age_metrics(self._features)
        yield from log_metrics(self._feature_log)
        yield from audit_metrics(self._audit)
        yield from trace_metrics(self._traces)
        yield from self._machine.collect()
        if self._gpus is not None:
            yield from self._gpus.collect()
        yield _build_info()


def _build_info() -> Metric:
    about = versions()
    about["version"] = about.pop("falaj")
    return InfoMetricFamily("falaj_build", "What runs here", about)

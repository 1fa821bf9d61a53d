"""Prometheus metrics of one app, in a registry of its own."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from api.service import Service
from engine.types import SearchResult

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# Seconds. Fine where our targets lie (15 ms a search), coarse beyond.
_BUCKETS = (
    0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class _SnapshotCollector(Collector):
    """Reads the service when asked, so that a newly opened snapshot shows at once."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "daogou_ready", "1 where the engine is open.", value=float(self._service.ready)
        )
        yield GaugeMetricFamily(
            "daogou_waiting_requests",
            "Requests that wait for a thread.",
            value=float(self._service.waiting),
        )
        if not self._service.ready:
            return
        snapshot = self._service.engine.snapshot
        age = (datetime.now(UTC) - snapshot.created_at).total_seconds()
        yield GaugeMetricFamily(
            "daogou_snapshot_age_seconds", "Since the snapshot was published.", value=age
        )
        yield GaugeMetricFamily("daogou_products", "Products in the snapshot.", value=len(snapshot))
        info = GaugeMetricFamily(
            "daogou_snapshot_info", "The snapshot searched.", labels=["snapshot_id"]
        )
        info.add_metric([snapshot.id], 1.0)
        yield info


class Metrics:
    """Counts requests and answers. Labels are bounded: templates of routes, never paths."""

    def __init__(self, service: Service) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "daogou_http_requests",
            "Requests answered.",
            ["route", "method", "status"],
            registry=registry,
        )
        self._latency = Histogram(
            "daogou_http_request_duration_seconds",
            "From the request's head to the answer's last byte.",
            ["route"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self._stages = Histogram(
            "daogou_stage_duration_seconds",
            "Time of one search in one stage.",
            ["stage"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self._empty = Counter(
            "daogou_empty_answers", "Searches that found nothing.", registry=registry
        )
        self._degraded = Counter(
            "daogou_degraded_answers",
            "Searches answered with a stage left out.",
            registry=registry,
        )
        registry.register(_SnapshotCollector(service))
        ProcessCollector(registry=registry)

    def request(self, *, route: str, method: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        known = method if method in _METHODS else "other"
        self._requests.labels(route, known, str(status)).inc()
        self._latency.labels(route).observe(seconds)

    def search(self, result: SearchResult) -> None:
        """Count one search. A page past the end of a ranking is not an empty answer."""
        for stage, milliseconds in result.timings.items():
            self._stages.labels(stage).observe(milliseconds / 1000)
        if not result.count:
            self._empty.inc()
        if result.degraded:
            self._degraded.inc()

    def exposition(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self._registry)

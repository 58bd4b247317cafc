"""Metrics for Prometheus, in a registry of this application's own."""

from __future__ import annotations

import re
import time

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.search.results import Results

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_ROUTES = re.compile(r"/(api/search|api/similar|api/info|api/facets|thumb|image|healthz|readyz|metrics)(?=/|$)")
# Paths of event streams, which stay open as long as the page is open.
STREAMS = ("/gradio_api/queue/data", "/gradio_api/heartbeat", "/gradio_api/upload_progress")


class Metrics:
    """Counts of requests, durations of requests and of the steps of a search, rows, searches in progress, disk use."""

    def __init__(self) -> None:
        disable_created_metrics()  # otherwise each series gets a second one with its creation time
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        labels = ["route", "method", "status"]
        self.requests = Counter("image_search_requests", "HTTP requests", labels, registry=registry)
        text = "Seconds from request to answer"
        self.latency = Histogram("image_search_request_seconds", text, ["route"], registry=registry, buckets=_BUCKETS)
        text = "Seconds of each step of a search: embed, search (in Milvus), total"
        self.steps = Histogram("image_search_step_seconds", text, ["step"], registry=registry, buckets=_BUCKETS)
        self.rows = Gauge("image_search_rows", "Images in the collection", registry=registry)
        text = "Searches of the API by state: waiting, running"
        self.queue = Gauge("image_search_queue", text, ["state"], registry=registry)
        text = "Bytes on disk by kind: uploads, thumbnails"
        self.disk = Gauge("image_search_disk_bytes", text, ["kind"], registry=registry)

    def observe(self, results: Results) -> None:
        """Record one search of the API or the page."""
        self.steps.labels("embed").observe(results.embed_seconds)
        self.steps.labels("search").observe(results.search_seconds)
        self.steps.labels("total").observe(results.seconds)
        self.rows.set(results.rows)

    def render(self) -> bytes:
        """Return all metrics in Prometheus's text format, version 0.0.4."""
        return generate_latest(self.registry)


class MeasureRequests:
    """Counts and times requests by route, method and status. Unknown routes and methods do not create new series."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        known = _ROUTES.match(scope["path"])
        route = known[0] if known else "page"
        method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "OPTIONS") else "other"
        status, start = 500, time.perf_counter()

        async def watching(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watching)
        finally:
            self._metrics.requests.labels(route, method, status).inc()
            if not scope["path"].startswith(STREAMS):
                self._metrics.latency.labels(route).observe(time.perf_counter() - start)

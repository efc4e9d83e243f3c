"""Counters and times for Prometheus."""

import time
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The metrics of one server, in a registry of its own.

    Args:
        models: names; their series begin at 0, because Prometheus sees no increase in a series that did not exist.
    """

    def __init__(self, models: Iterable[str]):
        self.registry = CollectorRegistry()
        self.requests = Counter("xmcgan_requests", "Requests answered", ["route", "status"], registry=self.registry)
        self.seconds = Histogram(
            "xmcgan_request_seconds",
            "From a request to the end of its answer",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.images = Counter("xmcgan_images", "Images drawn", ["model"], registry=self.registry)
        self.rows = Counter(
            "xmcgan_batch_rows", "Rows of the batches drawn, padding included", ["model"], registry=self.registry
        )
        self.batch_seconds = Histogram(
            "xmcgan_batch_seconds", "Time to draw a batch", ["model"], buckets=SECONDS, registry=self.registry
        )
        self.waiting = Gauge("xmcgan_queue_images", "Images in the queue", registry=self.registry)
        self.running = Gauge("xmcgan_requests_running", "Requests not yet answered", registry=self.registry)
        for model in models:
            for metric in (self.images, self.rows, self.batch_seconds):
                metric.labels(model)

    def batch(self, model: str, images: int, rows: int, seconds: float) -> None:
        """Counts a batch."""
        self.images.labels(model).inc(images)
        self.rows.labels(model).inc(rows)
        self.batch_seconds.labels(model).observe(seconds)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class Measured:
    """The outermost ASGI middleware: counts requests by route and status."""

    def __init__(self, app: ASGIApp, metrics: Metrics):
        self.app, self.metrics = app, metrics
        self.accepted = self.answered = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status, complete = time.perf_counter(), 500, False

        async def counted(message: Message) -> None:
            nonlocal status, complete
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                complete = True

        self.accepted += 1
        try:
            with self.metrics.running.track_inprogress():
                await self.app(scope, receive, counted)
        finally:
            self.answered += complete
            route = getattr(scope.get("route"), "path", "none")
            self.metrics.requests.labels(route, status).inc()
            self.metrics.seconds.labels(route).observe(time.perf_counter() - began)

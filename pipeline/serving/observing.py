"""What is known of requests afterwards: figures for Prometheus, and a log of who asked for what."""

from __future__ import annotations

import logging
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.printing import printable
from pipeline.serving.errors import error_response

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.25, 2.5, 5.0, 10.0, 30.0)
"""Seconds."""
_METHODS = ("GET", "HEAD", "POST")
_SHOWN = 200
_ADDRESS = 45
"""Letters of the longest IPv6 address."""
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
)
_CONTENT_POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; sandbox")
"""Of answers that have no policy of their own: whatever they hold, a browser must not run it."""

logger = logging.getLogger("pipeline.serving.access")


class Metrics:
    """The figures of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.requests = Counter("qpert_requests", "Requests answered", ["route", "method", "status"], registry=registry)
        self.seconds = Histogram(
            "qpert_request_seconds", "Time of a request", ["route"], buckets=_BUCKETS, registry=registry
        )
        self.in_flight = Gauge("qpert_requests_in_flight", "Requests under way", registry=registry)
        self.stages = Histogram(
            "qpert_search_seconds", "Time of a stage of a search", ["stage"], buckets=_BUCKETS, registry=registry
        )
        self.photos = Gauge("qpert_set_photos", "Photos of a set", ["set"], registry=registry)
        self.opened = Gauge("qpert_set_opened_timestamp_seconds", "When a set was opened", ["set"], registry=registry)
        self.up = Gauge("qpert_set_up", "1 where a set can be searched, else 0", ["set"], registry=registry)
        self.reloads = Counter("qpert_set_reloads", "Changes of a set seen", ["set", "outcome"], registry=registry)
        self.thumbnails = Counter("qpert_pictures", "Photos and thumbnails", ["source"], registry=registry)


class Observer:
    """Counts, times and logs requests, and gives every answer the headers that keep browsers safe.

    Args:
        app: what answers them.
        metrics: where they are counted.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status, started_to_answer = perf_counter(), 500, False

        async def with_headers(message: Message) -> None:
            nonlocal status, started_to_answer
            if message["type"] == "http.response.start":
                status, started_to_answer = message["status"], True
                known = {name for name, _ in message["headers"]}
                added = [header for header in (*_HEADERS, _CONTENT_POLICY) if header[0] not in known]
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        with self.metrics.in_flight.track_inprogress():
            try:
                await self.app(scope, receive, with_headers)
            except Exception:
                # A fault of ours: the log has it, and clients learn nothing of the insides.
                logger.exception("fault")
                if started_to_answer:
                    raise
                response = error_response(500, "something went wrong in the server; its log says what")
                await response(scope, receive, with_headers)
            finally:
                self._note(scope, status, perf_counter() - started)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        # By the route, never by the path: a figure for each photo would fill the memory.
        route = getattr(scope.get("route"), "path", None) or "other"
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self.metrics.requests.labels(route, method, str(status)).inc()
        self.metrics.seconds.labels(route).observe(seconds)
        client = scope.get("client")
        # A proxy's X-Forwarded-For may hold what the client made up.
        address = printable(client[0][:_ADDRESS].replace(" ", "_")) if client else "-"
        # Without what follows "?", and without bodies: queries say more about people than they think.
        logger.info(
            f"{address} {printable(scope['method'][:20])} {printable(scope['path'][:_SHOWN])}"
            f" {status} {1000 * seconds:.0f} ms"
        )

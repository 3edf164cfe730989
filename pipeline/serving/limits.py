"""Limits on requests: how many, how large, how slow, and how many at once."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from time import monotonic

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.serving.errors import RequestError, error_response

BODY_PATIENCE = 20.0
"""Seconds in which the body of a request must have come."""
_ALL_BODIES = 8
"""Bodies of the largest size that may be in memory at once."""
_CLIENTS = 10_000
"""Clients whose rate is remembered."""
WAITING = 16
"""Requests that may wait, for each one that is worked on."""


class RateLimit:
    """How often a client may ask: a bucket of `burst` requests that is filled up with `rate` a second."""

    def __init__(self, rate: float, burst: int) -> None:
        self.rate, self.burst = rate, burst
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()  # what is left, and when that was

    def wait(self, client: str, now: float | None = None) -> float:
        """Takes one request from a client's bucket: 0, or in how many seconds there will be one to take."""
        now = monotonic() if now is None else now
        left, before = self._clients.pop(client, (float(self.burst), now))
        left = min(float(self.burst), left + (now - before) * self.rate)
        seconds = 0.0 if left >= 1 else (1 - left) / self.rate
        self._clients[client] = (left - 1 if seconds == 0 else left, now)
        if len(self._clients) > _CLIENTS:
            self._clients.popitem(last=False)
        return seconds


class RequestLimits:
    """Reads the body of a request within its limits, and lets a limited number of requests through at once.

    Args:
        app: what answers them.
        max_body: bytes.
        rate: of requests with a method other than GET and HEAD; None for no limit.
        concurrent: requests worked on at once.
        timeout: seconds for a request once its body is there.
        body_patience: seconds for the body.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_body: int,
        rate: RateLimit | None,
        concurrent: int,
        timeout: float,
        body_patience: float = BODY_PATIENCE,
    ) -> None:
        self.app, self.rate = app, rate
        self.max_body, self.timeout, self.body_patience = max_body, timeout, body_patience
        self._slots, self._room = asyncio.Semaphore(concurrent), concurrent * (1 + WAITING)
        self._inside = self._bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or refuses it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        taken = 0
        try:
            self._check_rate(scope)
            # Nothing here needs the body of a GET; whoever sends one must not wait in line with it.
            body = b"" if scope["method"] in ("GET", "HEAD") else await self._read(scope, receive)
            taken = len(body)
            # Only those whose body is there have a place: slow clients must not take all.
            if self._inside >= self._room:
                raise RequestError(503, "too many requests at once", retry_after=1)
            self._inside += 1
            try:
                async with self._slots:
                    await self._answer(scope, _replayed(body, receive), send)
            finally:
                self._inside -= 1
        except RequestError as error:
            response = error_response(error.status, str(error), retry_after=error.retry_after)
            if error.status in (408, 413):  # what is left of the body would be taken for the next request
                response.headers["connection"] = "close"
            await response(scope, receive, send)
        finally:
            self._bytes -= taken

    def _check_rate(self, scope: Scope) -> None:
        if self.rate is None or scope["method"] in ("GET", "HEAD"):
            return
        client = scope.get("client")
        seconds = self.rate.wait(client[0] if client else "")
        if seconds:
            raise RequestError(429, "too many requests from this address", retry_after=math.ceil(seconds))

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit() and int(value[:20]) > self.max_body:
                raise self._too_large()
        chunks: list[bytes] = []
        read = 0
        try:
            with anyio.fail_after(self.body_patience):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise RequestError(400, "the client has gone")
                    chunk = message.get("body", b"")
                    read += len(chunk)
                    self._bytes += len(chunk)
                    if read > self.max_body:
                        raise self._too_large()
                    if self._bytes > _ALL_BODIES * self.max_body:
                        raise RequestError(503, "too many large requests at once", retry_after=5)
                    chunks.append(chunk)
                    if not message.get("more_body", False):
                        return b"".join(chunks)
        except BaseException as error:
            self._bytes -= read
            if isinstance(error, TimeoutError):
                raise RequestError(408, f"the request took more than {self.body_patience:g} s to arrive") from None
            raise

    def _too_large(self) -> RequestError:
        return RequestError(413, f"the request is larger than {self.max_body:,} bytes")

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def noting_start(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            with anyio.fail_after(self.timeout):
                await self.app(scope, receive, noting_start)
        except TimeoutError:
            if started:  # all that can be done is to break off
                raise
            raise RequestError(503, f"the request took more than {self.timeout:g} s", retry_after=5) from None


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body once, and then waits for the client to go."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay

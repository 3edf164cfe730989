"""A proxy in front of an S3 server that fails as asked: by script, or altogether; and counts what passes it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.buckets.lagging_listing import LaggingListing

Fault = Literal["503", "slow down", "403", "reset", "half", "lost answer", "hang"]
"""503 and its like are answers; `reset` ends a connection instead of one, `half` in the middle of the body, and
`lost answer` after the server did what was asked; `hang` never answers."""
_CODES = {
    "503": (503, "ServiceUnavailable"),
    "slow down": (503, "SlowDown"),
    "403": (403, "AccessDenied"),
}
_PIECE = 2**16


@dataclass(frozen=True)
class Request:
    """What a client asked.

    Attributes:
        method: of HTTP.
        path: decoded, ``/bucket/key``.
        query: the parameters.
        fault: how it was answered; None if as the server did.
    """

    method: str
    path: str
    query: dict[str, str]
    fault: Fault | None = None

    @property
    def lists(self) -> bool:
        """Whether it asks for the names in a bucket."""
        return self.method == "GET" and "list-type" in self.query


@dataclass
class FaultyProxy:
    """A running proxy; its attributes may be changed at any time.

    Attributes:
        upstream: host and port of the server.
        fault: decides how a request is answered: as the server does if None is returned.
        outage: while this is set, every request is answered in this way.
        listing: what listings say; None for the truth.
        requests: what was asked, in order.
        port: where the proxy listens.
    """

    upstream: tuple[str, int]
    fault: Callable[[Request], Fault | None] = lambda request: None
    outage: Fault | None = None
    listing: LaggingListing | None = None
    requests: list[Request] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        """What to use as the endpoint."""
        return f"http://127.0.0.1:{self.port}"

    def fail(self, fault: Fault, times: int = 1, method: str = "", path: str = "") -> None:
        """Answer the next `times` requests of a method, with `path` in their path, by `fault`."""
        left = [times]

        def decide(request: Request) -> Fault | None:
            if left[0] == 0 or method not in ("", request.method) or path not in request.path:
                return None
            left[0] -= 1
            return fault

        self.fault = decide

    def count(self, method: str = "", path: str = "") -> int:
        """How many requests of a method there were, with `path` in their path."""
        return sum(method in ("", request.method) and path in request.path for request in list(self.requests))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a client."""
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while await self._answer(reader, writer):
                pass
        with suppress(OSError):
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.split(b" ", 2)
        fields = _fields(head)
        if fields.get("expect"):
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await _body(reader, fields)
        address = urlsplit(target.decode())
        query = dict(parse_qsl(address.query, keep_blank_values=True))
        asked = Request(method.decode(), unquote(address.path), query)
        fault = self.outage or self.fault(asked)
        self.requests.append(Request(asked.method, asked.path, query, fault))
        if fault == "hang":
            await asyncio.sleep(3600)
        if fault == "reset":
            writer.transport.abort()
            return False
        if fault in _CODES:
            writer.write(_error(*_CODES[fault], asked.method))
            await writer.drain()
            return True
        if self.listing is not None and asked.method == "DELETE":
            self.listing.leaves(asked.path, await self._ask(_head_of(head, method), b"", "HEAD"))
        status, content = await self._ask(head, body, asked.method)
        if self.listing is not None:
            if asked.method == "PUT":
                self.listing.comes(asked.path)
            elif asked.lists:
                status, content = self.listing.show(asked.path, query, status, content)
        if fault == "lost answer":
            writer.transport.abort()
            return False
        if fault == "half":
            writer.write(status + content[: len(content) // 2])
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.transport.abort()
            return False
        writer.write(status + content)
        await writer.drain()
        return b"connection: close" not in status.lower()

    async def _ask(self, head: bytes, body: bytes, method: str) -> tuple[bytes, bytes]:
        """Head and body of the server's answer."""
        reader, writer = await asyncio.open_connection(*self.upstream)
        try:
            first, *lines = head[:-4].split(b"\r\n")
            lines = [line for line in lines if not line.lower().startswith((b"expect:", b"connection:"))]
            writer.write(b"\r\n".join([first, *lines, b"Connection: close"]) + b"\r\n\r\n" + body)
            await writer.drain()
            status = await reader.readuntil(b"\r\n\r\n")
            content = b""
            while piece := await reader.read(_PIECE):
                content += piece
        finally:
            writer.close()
        kept = [line for line in status[:-4].split(b"\r\n") if not line.lower().startswith(b"connection:")]
        if "chunked" in _fields(status).get("transfer-encoding", ""):
            kept = [line for line in kept if not line.lower().startswith(b"transfer-encoding:")]
            content = _unchunked(content)
            kept.append(b"Content-Length: %d" % len(content))
        return b"\r\n".join(kept) + b"\r\n\r\n", b"" if method == "HEAD" else content


async def _body(reader: asyncio.StreamReader, fields: dict[str, str]) -> bytes:
    """The body of a request, in the form in which it came."""
    if "chunked" not in fields.get("transfer-encoding", ""):
        return await reader.readexactly(int(fields.get("content-length", 0)))
    body = b""
    while True:
        size = await reader.readuntil(b"\r\n")
        body += size + await reader.readexactly(int(size.partition(b";")[0], 16) + 2)
        if body.endswith(b"\r\n0\r\n\r\n") or size.strip() == b"0":
            return body


def _fields(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines) if value}


def _head_of(head: bytes, method: bytes) -> bytes:
    return b"HEAD" + head[len(method) :]


def _unchunked(content: bytes) -> bytes:
    whole = b""
    while content:
        size, _, content = content.partition(b"\r\n")
        number = int(size.partition(b";")[0], 16)
        whole, content = whole + content[:number], content[number + 2 :]
        if not number:
            break
    return whole


def _error(status: int, code: str, method: str) -> bytes:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>so it was asked</Message></Error>".encode()
    head = f"HTTP/1.1 {status} {code}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    return head + (b"" if method == "HEAD" else body)


@contextmanager
def faulty_proxy(server: str) -> Iterator[FaultyProxy]:
    """A proxy in front of the server at a URL, in a thread of this process."""
    address = urlsplit(server)
    proxy = FaultyProxy((address.hostname or "", address.port or 80))
    loop = asyncio.new_event_loop()

    async def begin() -> None:
        listening = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, limit=2**20)
        proxy.port = listening.sockets[0].getsockname()[1]

    async def end() -> None:
        open_now = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in open_now:
            task.cancel()
        await asyncio.gather(*open_now, return_exceptions=True)

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(begin(), loop).result(10)
    try:
        yield proxy
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def wait_until(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for a condition, at most so long."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)

"""Open connections: how many there may be, and how long one may take to say what it wants.

Uvicorn limits neither: it would keep thousands of connections that never send a request until no file can be opened any
more.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

PATIENCE = 10.0
"""Seconds for the line and the headers of a request."""
RESERVED = 256
"""File descriptors kept for photos, features and libraries."""
_REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 5\r\nconnection: close\r\n"
    b'content-length: 74\r\n\r\n{"error": {"code": "unavailable", "message": "too many open connections"}}'
)


class ConnectionLimit:
    """The connections of a server. Where there is no room, the one that has been idle for longest makes it.

    Args:
        most: connections at once.
        patience: seconds without a request after which a connection is closed.
    """

    def __init__(self, most: int, patience: float = PATIENCE) -> None:
        self.most, self.patience = most, patience
        self._idle: dict[LimitedProtocol, None] = {}  # the one that has been idle for longest is first
        self._busy: set[LimitedProtocol] = set()

    def __len__(self) -> int:
        return len(self._idle) + len(self._busy)

    def admit(self, protocol: LimitedProtocol) -> bool:
        """Adds a connection; False where there is no room and none is idle."""
        if len(self) >= self.most:
            if not self._idle:
                return False
            oldest = next(iter(self._idle))
            self.remove(oldest)
            oldest.give_up()
        self._idle[protocol] = None
        return True

    def mark(self, protocol: LimitedProtocol, *, busy: bool) -> None:
        """Says whether a connection has a request under way."""
        if protocol not in self._idle and protocol not in self._busy:
            return
        self.remove(protocol)
        if busy:
            self._busy.add(protocol)
        else:
            self._idle[protocol] = None

    def remove(self, protocol: LimitedProtocol) -> None:
        """Forgets a connection that is closed."""
        self._idle.pop(protocol, None)
        self._busy.discard(protocol)


class LimitedProtocol(H11Protocol):
    """Uvicorn's connection, within a limit on their number and on the time until a request is known.

    Args:
        limit: shared by the connections of a server.
        arguments: as uvicorn gives them.
    """

    def __init__(self, *, limit: ConnectionLimit, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._limit = limit
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """A client has connected."""
        super().connection_made(transport)
        if self._limit.admit(self):
            self._wait()
        else:
            transport.write(_REFUSAL)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone, or was sent away."""
        self._stop_waiting()
        self._limit.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A part of a request has come."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        self._note_state()

    def on_response_complete(self) -> None:
        """A request is answered; the next may be there already."""
        super().on_response_complete()
        if not self.transport.is_closing():
            self._note_state()

    def give_up(self) -> None:
        """Closes the connection where no request is under way."""
        if not self._is_busy() and not self.transport.is_closing():
            self.transport.close()

    def _note_state(self) -> None:
        busy = self._is_busy()
        self._limit.mark(self, busy=busy)
        if busy:
            self._stop_waiting()
        elif self._timer is None:  # not anew with each byte
            self._wait()

    def _is_busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self) -> None:
        self._timer = self.loop.call_later(self._limit.patience, self.give_up)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def most_connections(wanted: int) -> int:
    """As many of `wanted` connections as the system's limit on open files leaves room for, once it is raised."""
    try:
        import resource
    except ImportError:  # not on Windows
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = wanted + RESERVED
    if soft != resource.RLIM_INFINITY and soft < target:
        soft = target if hard == resource.RLIM_INFINITY else min(target, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else max(8, min(wanted, soft - RESERVED))

"""The proxy delays, breaks what it should, and changes nothing else."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Iterator

import pytest

from tests.hosts.proxy import Proxy


class Twice(socketserver.BaseRequestHandler):
    """Answers with all it got, twice."""

    def handle(self) -> None:
        """Until the end of the data."""
        got = b""
        while data := self.request.recv(65536):
            got += data
        self.request.sendall(2 * got)


@pytest.fixture
def server() -> Iterator[tuple[str, int]]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Twice) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[:2]  # type: ignore[misc]
        server.shutdown()


def ask(address: tuple[str, int], data: bytes) -> bytes:
    with socket.create_connection(address, 10) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        got = b""
        while more := connection.recv(65536):
            got += more
        return got


def test_data_is_late_and_whole(server: tuple[str, int]) -> None:
    proxy = Proxy(server, "127.0.0.1", delay=0.1)
    data, begun = bytes(range(256)) * 4000, time.monotonic()
    assert ask(proxy.address, data) == 2 * data
    assert 0.2 <= time.monotonic() - begun < 2  # once there, once back, not for each piece
    assert (proxy.connections, proxy.dropped) == (1, 0)
    proxy.close()


def test_some_connections_break_half_way(server: tuple[str, int]) -> None:
    proxy, broken = Proxy(server, "127.0.0.1", drop=0.5, seed=3), 0
    for _ in range(20):
        try:
            assert ask(proxy.address, b"a" * 100_000) == b"a" * 200_000
        except OSError:  # a reset, or "not connected" where it came before the end was sent
            broken += 1
    assert proxy.dropped == broken
    assert 3 < broken < 17
    proxy.close()


def test_a_target_that_is_gone_is_a_broken_connection() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        proxy = Proxy(closed.getsockname(), "127.0.0.1")
        with pytest.raises(OSError, match=r"reset|not connected"):
            ask(proxy.address, b"a")
    proxy.close()

"""A TCP proxy that makes a network worse than it is: each piece of data is late, some connections break half-way."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

CHUNK = 65536
ORIGINAL_DESTINATION = 80
"""SO_ORIGINAL_DST of Linux, for which Python has no name."""


class Proxy:
    """Listens at `address` (host, port) and leads to `target`, in a thread, until `close`.

    Args:
        target: host and port; None for wherever a connection was going before the system sent it here.
        host: where to listen; the port is any that is free.
        delay: seconds by which data of both directions is late; what follows closely is not late twice.
        drop: the share of connections that break, by a reset after some bytes of the answer: fewer than `within`.
        seed: of which connections these are.
        mark: of the packets to the target, for rules of the system; 0 for none.
    """

    def __init__(
        self,
        target: tuple[str, int] | None,
        host: str,
        *,
        delay: float = 0.0,
        drop: float = 0.0,
        within: int = 1000,
        seed: int = 0,
        mark: int = 0,
    ) -> None:
        self.target, self.delay, self.drop, self.within = target, delay, drop, within
        self.dice, self.mark = random.Random(seed), mark
        self.connections = self.dropped = 0
        self._serving = set[asyncio.Task[None]]()
        self.loop, ready = asyncio.new_event_loop(), threading.Event()

        async def begin() -> None:
            server = await asyncio.start_server(self._begin, host, 0)
            self.address: tuple[str, int] = server.sockets[0].getsockname()[:2]
            ready.set()

        def work() -> None:
            asyncio.set_event_loop(self.loop)
            self.loop.run_until_complete(begin())
            self.loop.run_forever()

        self.thread = threading.Thread(target=work, daemon=True)
        self.thread.start()
        if not ready.wait(10):
            raise RuntimeError(f"the proxy cannot listen on {host}")

    def close(self) -> None:
        """Ends all connections, and the loop."""

        async def end() -> None:
            for task in (ending := list(self._serving)):
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The loop alone would let a connection that waits be collected as garbage."""
        task = self.loop.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        budget = self.dice.randrange(1, self.within) if self.dice.random() < self.drop else None
        try:
            back, forth = await self._connect(writer.get_extra_info("socket"))
        except OSError:
            _reset(writer)
            return
        ways = [self._pass(reader, forth, None), self._pass(back, writer, budget)]
        if not await _first_false(ways):
            self.dropped += 1
            _reset(writer)
            forth.transport.abort()
        for each in (writer, forth):
            each.close()

    async def _connect(self, asking: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        target = self.target
        if target is None:
            port, address = struct.unpack("!2xH4s8x", asking.getsockopt(socket.SOL_IP, ORIGINAL_DESTINATION, 16))
            target = socket.inet_ntoa(address), port
        sock = socket.socket()
        sock.setblocking(False)
        if self.mark:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, self.mark)
        try:
            await self.loop.sock_connect(sock, target)
        except OSError:
            sock.close()
            raise
        return await asyncio.open_connection(sock=sock)

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, budget: int | None) -> bool:
        """Whether it came to the end of the data; not when `budget` bytes have passed."""
        late: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def read() -> None:
            with suppress(OSError):
                while data := await source.read(CHUNK):
                    late.put_nowait((self.loop.time() + self.delay, data))
            late.put_nowait((self.loop.time() + self.delay, b""))

        reading = asyncio.create_task(read())
        try:
            while True:
                due, data = await late.get()
                await asyncio.sleep(max(0.0, due - self.loop.time()))
                if not data:
                    with suppress(OSError):
                        sink.write_eof()
                    return True
                if budget is not None and (budget := budget - len(data)) <= 0:
                    return False
                try:
                    sink.write(data)
                    await sink.drain()
                except OSError:
                    return True
        finally:
            reading.cancel()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Break a connection without an orderly end."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _first_false(ways: list[Coroutine[Any, Any, bool]]) -> bool:
    """Whether both end well; the other one is stopped where one does not."""
    tasks = [asyncio.create_task(way) for way in ways]
    try:
        for task in asyncio.as_completed(tasks):
            if not await task:
                return False
        return True
    finally:
        for each in tasks:
            each.cancel()

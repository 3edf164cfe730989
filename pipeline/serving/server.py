"""One process that serves: it binds its port, opens the sets, and runs the app until it is stopped."""

from __future__ import annotations

import logging
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import uvicorn

from pipeline.errors import QpertError
from pipeline.printing import printable
from pipeline.serving.app import build_app
from pipeline.serving.connections import ConnectionLimit, LimitedProtocol, most_connections
from pipeline.serving.page_files import FOLDER
from pipeline.serving.service import Service
from pipeline.serving.settings import ServeSettings, is_loopback

CONNECTIONS = 4096
"""Open connections, where the system allows as many."""
_LARGEST_HEAD = 64 * 2**10
_BACKLOG = 2048
_LAST_REQUESTS = 30
"""Seconds for the requests in flight when the server is stopped."""


def show_text(text: str) -> None:
    """Prints at once, also where the output is read by a program."""
    print(text, flush=True)


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket that listens; the port is free for others once it is closed.

    Raises:
        QpertError: the address is unknown, not of this machine, or taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise QpertError(f"--host {host} is not an address: {error.strerror or error}") from error
    server = socket.socket(family, kind, protocol)
    try:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(address)
        server.listen(_BACKLOG)
    except OSError as error:
        server.close()
        advice = "choose another --port (0: any that is free)" if port else "choose another --host"
        raise QpertError(f"cannot listen on {host}, port {port}: {error.strerror}; {advice}") from error
    return server


def address_text(host: str, port: int) -> str:
    """The address for people."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def startup_text(service: Service, address: str) -> str:
    """What is served where."""
    lines = []
    for served in service.catalogue.all():
        info = served.current().info
        lines.append(f"{printable(info.name)}: {info.photos:,} photos, {info.encoder}, {info.index}")
        lines += [f"  {printable(line)}" for line in (info.warning or "").splitlines()]
    if (FOLDER / "index.html").is_file():
        lines.append(f"page: {address}/")
    lines += [f"API:  {address}/docs", "Ctrl+C stops the server"]
    return "\n".join(lines)


def serve(
    settings: ServeSettings,
    host: str,
    port: int,
    *,
    hosts: Sequence[str] = (),
    show: Callable[[str], None] = show_text,
) -> None:
    """Serves until it is stopped by SIGINT or SIGTERM; requests in flight are answered first.

    Args:
        settings: of the server.
        host: address to listen on.
        port: likewise; 0 for any that is free.
        hosts: further names by which clients call this server.
        show: is called with the text for the user, once all is ready.

    Raises:
        QpertError: the port cannot be had, or a set cannot be opened.
    """
    listening = bound_socket(host, port)
    try:
        service = Service(settings)
        try:
            service.open()
            address = address_text(host, listening.getsockname()[1])
            # Where a token is demanded, a page with another's name for this machine still lacks it.
            app = build_app(service, hosts=(host, *hosts) if is_loopback(host) or hosts else None)
            limit = ConnectionLimit(most_connections(CONNECTIONS))
            config = uvicorn.Config(
                app,
                http=partial(LimitedProtocol, limit=limit),  # type: ignore[arg-type]  # called like the class
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                h11_max_incomplete_event_size=_LARGEST_HEAD,
                timeout_graceful_shutdown=_LAST_REQUESTS,
            )
            logging.getLogger("uvicorn").setLevel(logging.ERROR)
            show(startup_text(service, address))
            with _no_exception_at_the_end():
                uvicorn.Server(config).run(sockets=[listening])
        finally:
            service.close()
    finally:
        listening.close()


@contextmanager
def _no_exception_at_the_end() -> Iterator[None]:
    """Uvicorn sends the signals that stopped it once more when it has ended; being stopped is no failure."""
    before: dict[signal.Signals, Any] = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, lambda *_: None)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

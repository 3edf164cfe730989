"""Several processes that serve on this machine, by Ray Serve."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Sequence
from threading import Event, current_thread, main_thread
from typing import Any

from pipeline.cluster.session import ray_session
from pipeline.errors import QpertError, first_line
from pipeline.serving.catalogue import named_places
from pipeline.serving.server import address_text, bound_socket, show_text
from pipeline.serving.settings import ServeSettings, is_loopback

APPLICATION = "qpert"
_LOG = {"log_level": "WARNING", "enable_access_log": False}


def serve_by_ray(
    settings: ServeSettings,
    host: str,
    port: int,
    replicas: int,
    *,
    hosts: Sequence[str] = (),
    show: Callable[[str], None] = show_text,
    stop: Event | None = None,
) -> None:
    """Serves until it is stopped by SIGINT or SIGTERM.

    Args:
        settings: of the server.
        host: address that the proxy listens on.
        port: likewise; 0 for any that is free.
        replicas: processes that search.
        hosts: further names by which clients call this server.
        show: is called with the text for the user, once all is ready.
        stop: ends the server when set, besides signals.

    Raises:
        QpertError: the port cannot be had, or the sets cannot be opened.
    """
    with bound_socket(host, port) as free:
        port = free.getsockname()[1]
    named_places(settings)  # what can be seen to be wrong is said before Ray starts
    loopback = is_loopback(host)
    arguments: dict[str, Any] = {
        **{name: getattr(settings, name) for name in ServeSettings.model_fields},
        "without_token": loopback,
        "hosts": (host, *hosts) if loopback or hosts else None,
        "replicas": replicas,
    }
    with ray_session():
        from ray import serve
        from ray.serve.config import HTTPOptions

        from pipeline.serving.deployment import build

        # One proxy: Serve's own would listen on the port of every machine.
        serve.start(proxy_location="HeadOnly", http_options=HTTPOptions(host=host, port=port), logging_config=_LOG)
        logging.getLogger("ray.serve").setLevel(logging.WARNING)  # in this process, which Ray has just configured
        try:
            serve.run(build(arguments), name=APPLICATION, route_prefix="/", logging_config=_LOG)
        except RuntimeError as error:
            serve.shutdown()
            raise QpertError(f"the replicas do not start: {first_line(error)}") from error
        try:
            show(f"{replicas} replicas serve at {address_text(host, port)}/\nCtrl+C stops the server")
            _wait(stop or Event())
        finally:
            serve.shutdown()


def _wait(stop: Event) -> None:
    if current_thread() is main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
    while not stop.wait(0.5):
        pass

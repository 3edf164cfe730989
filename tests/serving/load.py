"""Load on a server: clients that search one after the other for a while, and what came of it.

    python -m tests.serving.load /path/of/features --minutes 10 --clients 32
    python -m tests.serving.load --url http://127.0.0.1:8000 --minutes 1

With features, a server is started for it, whose memory is looked at as well; it must not grow by more than a tenth
between the first fifth of the time and the end. Exits with 1 where a request failed or memory grew.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from threading import Thread
from urllib.parse import urlsplit

from tests.serving.live import LiveServer, live_server

WORDS = (
    "small",
    "large",
    "tiny",
    "red",
    "green",
    "blue",
    "yellow",
    "star",
    "circle",
    "square",
    "moon",
    "cross",
    "ring",
)
GROWTH = 1.1


@dataclass
class Load:
    """What came of it.

    Attributes:
        seconds: of each request that was answered with 200.
        failures: kind -> how many of the others.
        when: the times of failures.
    """

    seconds: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    when: list[float] = field(default_factory=list)

    def text(self) -> str:
        """One line."""
        ranks = statistics.quantiles(self.seconds, n=100) if len(self.seconds) > 1 else [0.0] * 99
        shown = ", ".join(f"p{rank} {1000 * ranks[rank - 1]:.1f} ms" for rank in (50, 95, 99))
        return f"{len(self.seconds):,} answers, {shown}; failures: {dict(self.failures) or 'none'}"


def put_load(url: str, clients: int, seconds: float, *, thumbnails: bool = True) -> Load:
    """Has `clients` threads search for `seconds`, each on a connection of its own that it keeps."""
    load, end = Load(), time.monotonic() + seconds
    place = urlsplit(url)
    assert place.hostname is not None

    def client(number: int) -> None:
        draw = random.Random(number)
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)
        while time.monotonic() < end:
            started = time.monotonic()
            try:
                body = json.dumps({"text": " ".join(draw.sample(WORDS, 3)), "k": 24})
                connection.request("POST", "/search", body, {"content-type": "application/json"})
                answer = connection.getresponse()
                data = answer.read()
                if answer.status != 200:
                    raise ValueError(f"status {answer.status}")
                load.seconds.append(time.monotonic() - started)
                results = json.loads(data)["results"]
                if thumbnails and results and draw.random() < 0.2:
                    connection.request("GET", draw.choice(results)["thumbnail"])
                    answer = connection.getresponse()
                    answer.read()
                    if answer.status != 200:
                        raise ValueError(f"status {answer.status} of a thumbnail")
            except (OSError, http.client.HTTPException, ValueError) as error:
                load.failures[f"{type(error).__name__}: {error}"[:80]] += 1
                load.when.append(time.monotonic())
                connection.close()
        connection.close()

    threads = [Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return load


def watched(server: LiveServer, seconds: float) -> list[int]:
    """The memory of a server, looked at while load is put on it."""
    sizes: list[int] = []

    def watch() -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and server.is_alive():
            sizes.append(server.memory())
            time.sleep(seconds / 100)

    Thread(target=watch, daemon=True).start()
    return sizes


def main(words: Sequence[str] | None = None, show: Callable[[str], None] = print) -> int:
    """Puts load on a server; returns 1 where it does not stand it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", nargs="*")
    parser.add_argument("--url")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--replicas", type=int, help="serve by Ray Serve")
    given = parser.parse_args(words)
    if bool(given.features) == bool(given.url):
        parser.error("name features or a --url")
    seconds = 60 * given.minutes
    more = ["--replicas", str(given.replicas)] if given.replicas else []
    server = nullcontext() if given.url else live_server(*given.features, "--rate", "1e6", *more)
    with server as started:
        sizes = watched(started, seconds) if started is not None else []
        load = put_load(given.url or started.url, given.clients, seconds)
    show(f"{given.clients} clients, {seconds:g} s: {load.text()}; {len(load.seconds) / seconds:,.0f} searches a second")
    grown = False
    if sizes:
        first, last = max(sizes[: max(1, len(sizes) // 5)]), max(sizes[-max(1, len(sizes) // 20) :])
        show(f"memory: {first / 2**20:,.0f} MiB in the first fifth, {last / 2**20:,.0f} MiB at the end")
        grown = last > GROWTH * first
    return 1 if load.failures or grown or not load.seconds else 0


if __name__ == "__main__":
    sys.exit(main())

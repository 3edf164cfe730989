"""A running `qpert serve` measured from outside: texts in, JSON out, a connection for each client."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from pipeline.benchmarks.search_figures import CLIENTS, Latency, queries_per_second, time_each
from pipeline.errors import QpertError

_TIMEOUT = 60.0


@dataclass(frozen=True)
class HttpMeasure:
    """How a server answers.

    Attributes:
        url: the server.
        latency: of single queries, one after the other, with texts that the server has not embedded before.
        rates: queries per second, by number of clients, with texts that it has.
    """

    url: str
    latency: Latency
    rates: dict[int, float]


class Client:
    """Asks a server, over one connection in each thread.

    Args:
        url: of the server.
        photos: that a query asks for.
        token: that the server demands; "" for none.
    """

    def __init__(self, url: str, photos: int, token: str = "") -> None:
        parts = urlsplit(url)
        self._place, self._path = parts.netloc, f"{parts.path.rstrip('/')}/search"
        self._photos = photos
        self._headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._threads = threading.local()

    def search(self, text: str) -> list[str]:
        """The image_ids that the server finds for a text.

        Raises:
            QpertError: there is no answer, or one that is no success.
        """
        try:
            if not hasattr(self._threads, "connection"):
                self._threads.connection = http.client.HTTPConnection(self._place, timeout=_TIMEOUT)
            connection: http.client.HTTPConnection = self._threads.connection
            connection.request("POST", self._path, json.dumps({"text": text, "k": self._photos}), self._headers)
            response = connection.getresponse()
            said = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise QpertError(f"{self._place} does not answer ({error}); is qpert serve running there?") from error
        if response.status != 200:
            raise QpertError(f"{self._place} answers with status {response.status}: {said[:200]!r}")
        return [result["image_id"] for result in json.loads(said)["results"]]


def measure_http(client: Client, url: str, texts: Sequence[str], seconds: float) -> HttpMeasure:
    """Measures a server, after the first tenth of the texts have warmed it.

    Latency is that of the other texts, each asked once: a server keeps the vectors of recent texts, so that a second
    time would leave the text tower out. Rates are of texts that the server knows.

    Args:
        client: asks it.
        url: for the report.
        texts: the queries.
        seconds: of each measurement of queries per second.
    """
    distinct = list(dict.fromkeys(texts))
    begun = len(distinct) // 10
    time_each(client.search, distinct[:begun])
    latency = Latency.of(time_each(client.search, distinct[begun:]))
    rates = {clients: queries_per_second(client.search, distinct, clients, seconds) for clients in CLIENTS}
    return HttpMeasure(url, latency, rates)

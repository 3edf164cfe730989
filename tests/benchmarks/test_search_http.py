"""A server is asked over a connection per thread, and its errors are reported."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from pipeline.benchmarks.search_http import Client, measure_http
from pipeline.errors import QpertError

NEW_TEXT = 0.03
"""Seconds that a text takes that the server has not seen."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen: ClassVar[set[str]] = set()

    def do_POST(self):
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        known = self.path == "/qpert/search" and self.headers["Authorization"] == "Bearer secret"
        if query["text"] not in self.seen:
            self.seen.add(query["text"])
            time.sleep(NEW_TEXT)
        results = [{"image_id": f"{query['text']}-{rank}"} for rank in range(query["k"])]
        body = json.dumps({"results": results} if known else {"error": {"code": "unauthorized"}}).encode()
        self.send_response(200 if known else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128  # all clients connect at once


@pytest.fixture(scope="module")
def url():
    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/qpert/"
        server.shutdown()


def test_a_server_is_measured_with_its_token(url):
    client = Client(url, 2, "secret")
    assert client.search("horse") == ["horse-0", "horse-1"]
    measure = measure_http(client, url, ["horse", "zebra"], seconds=0.05)
    assert list(measure.rates) == [1, 8, 32]
    assert min(measure.rates.values()) > 0


def test_latency_is_that_of_texts_that_the_server_has_not_embedded_before(url):
    texts = [f"a horse and {number} zebras" for number in range(20)]
    measure = measure_http(Client(url, 2, "secret"), url, texts * 2, seconds=0.2)
    assert measure.latency.p50 >= 1000 * NEW_TEXT


def test_an_error_is_quoted(url):
    with pytest.raises(QpertError, match=r"status 401.*unauthorized"):
        Client(url, 2).search("horse")


def test_a_server_that_is_not_there_is_named():
    with pytest.raises(QpertError, match="is qpert serve running there"):
        Client("http://127.0.0.1:9", 2).search("horse")

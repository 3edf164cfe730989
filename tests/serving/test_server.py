"""`qpert serve` in a process of its own, over real connections: well-meant and hostile ones."""

from __future__ import annotations

import http.client
import json
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from pipeline.errors import QpertError
from pipeline.serving.server import address_text, bound_socket
from tests.serving.live import ROOT, LiveServer, live_server
from tests.serving.load import put_load


@pytest.fixture
def server(coca: str) -> Iterator[LiveServer]:
    with live_server(coca, "--rate", "100000") as running:
        yield running


def ask(server: LiveServer, path: str = "/healthz", body: Any = None, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        data = None if body is None else json.dumps(body)
        connection.request(
            "GET" if body is None else "POST", path, data, {"content-type": "application/json"} | headers
        )
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def open_connection(server: LiveServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=30)


def test_addresses() -> None:
    assert address_text("::1", 80) == "http://[::1]:80"
    with bound_socket("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(QpertError, match=f"port {port}: Address already in use; choose another --port"):
            bound_socket("127.0.0.1", port)
    with pytest.raises(QpertError, match="is not an address"):
        bound_socket("no such host", 0)
    with pytest.raises(QpertError, match="choose another --host"):
        bound_socket("192.0.2.1", 0)


@pytest.mark.slow
def test_a_server_starts_answers_and_stops(server: LiveServer, coca: str) -> None:
    text = "".join(server.lines)
    assert "coca: 60 photos, coca, exact scan of 60 photos" in text
    status, data = ask(server, "/search", {"text": "a small red star", "k": 3})
    assert status == 200
    assert len(json.loads(data)["results"]) == 3
    assert ask(server, "/search", {"text": "0"}, host="evil.example")[0] == 403
    command = [sys.executable, "-m", "jobs", "serve", coca, "--port", str(server.port)]
    second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert second.returncode == 2
    assert "Address already in use" in second.stderr
    assert server.stop(signal.SIGINT) == 0


@pytest.mark.slow
def test_requests_in_flight_are_answered_before_it_stops(server: LiveServer) -> None:
    statuses: list[int] = []

    def client() -> None:
        try:
            while True:
                statuses.append(ask(server, "/search", {"text": "a red star", "k": 50})[0])
        except ConnectionRefusedError:
            pass  # it listens no longer

    threads = [threading.Thread(target=client) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    assert server.stop(signal.SIGTERM) == 0
    for thread in threads:
        thread.join()
    assert len(statuses) > 4
    assert set(statuses) == {200}


BAD_HTTP = (
    b"\0" * 1000,
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
    b"POST /search HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcdef",
    b"POST /search HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    b"GET /" + b"x" * 200_000 + b" HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n" + b"x: y\r\n" * 50_000 + b"\r\n",
    b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: " + b"y" * 200_000,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
)


@pytest.mark.slow
def test_bad_http_is_refused(server: LiveServer) -> None:
    for sent in BAD_HTTP:
        with open_connection(server) as connection:
            try:
                connection.sendall(sent)
                connection.shutdown(socket.SHUT_WR)
                answer = connection.recv(1000)
            except OSError:
                answer = b""
        assert answer == b"" or answer.split()[1] in (b"400", b"403", b"431") or b"upgrade" in sent, sent[:80]
        assert ask(server)[0] == 200


@pytest.mark.slow
def test_large_bodies_are_cut_off(server: LiveServer) -> None:
    head = b"POST /search HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    with open_connection(server) as connection:
        connection.sendall(head + b"content-length: 99999999999\r\n\r\n")
        assert b" 413 " in connection.recv(1000)
    before = server.memory()
    with open_connection(server) as connection:
        connection.sendall(head + b"transfer-encoding: chunked\r\n\r\n")
        chunk = b"100000\r\n" + b"[" * 2**20 + b"\r\n"
        with pytest.raises(OSError, match=r"reset|Broken pipe"):
            connection.sendall(chunk * 200)
    assert server.memory() < before + 150 * 2**20
    assert ask(server)[0] == 200


@pytest.mark.slow
def test_ten_thousand_connections_keep_nobody_out(server: LiveServer) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 12_000:
        pytest.skip("this process may not open as many")
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 15_000) if hard > 0 else 15_000, hard))
    try:
        with ExitStack() as stack:
            for number in range(10_000):
                connection = stack.enter_context(open_connection(server))
                if number % 2:  # every other one begins a request that it never ends
                    with suppress(OSError):
                        connection.sendall(b"GET /healthz HTTP/1.1\r\nx: ")
                if number % 2_000 == 1_999:
                    assert ask(server)[0] == 200
                    assert ask(server, "/search", {"text": "a red star"})[0] == 200
            assert server.is_alive()
        assert ask(server, "/search", {"text": "a red star"})[0] == 200
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow
def test_connections_without_a_request_are_closed(server: LiveServer) -> None:
    with open_connection(server) as silent, open_connection(server) as dripping:
        started = time.monotonic()
        closed = None
        while closed is None and time.monotonic() < started + 30:
            try:
                dripping.sendall(b"G" if time.monotonic() < started + 1 else b"x")
            except OSError:
                closed = time.monotonic() - started
            time.sleep(0.5)
        silent.settimeout(20)
        assert silent.recv(10) == b""
    assert closed is not None
    assert closed < 20


@pytest.mark.slow
def test_load_meets_no_error(server: LiveServer) -> None:
    load = put_load(server.url, clients=32, seconds=3)
    assert not load.failures
    assert len(load.seconds) > 32

"""Photos over HTTP, from a test server on this machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from pipeline.datasets.photos import web
from pipeline.datasets.photos.rules import SCHEMES, SourceRules
from pipeline.datasets.photos.web import fetch, is_public
from pipeline.errors import QpertError

RULES = SourceRules(schemes=(*SCHEMES, "http"), local_addresses=True, max_bytes=1000)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        kind, _, rest = self.path.strip("/").partition("?")
        if kind == "to":
            self.send_response(302)
            self.send_header("Location", rest)
            self.end_headers()
        elif kind.isdecimal():
            self.send_error(int(kind))
        elif kind == "endless":  # no length, more than allowed
            self.send_response(200)
            self.end_headers()
            for _ in range(100):
                self.wfile.write(b"x" * 1000)
        elif kind == "trickle":
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            for _ in range(100):  # never silent
                self.wfile.write(b"x")
                if self.server.hold.wait(0.1):  # type: ignore[attr-defined]
                    break
        else:
            sizes = {"cut": 50, "large": 2000}
            self.send_response(200)
            self.send_header("Content-Length", str(sizes.get(kind, 5)))
            self.end_headers()
            self.wfile.write(b"photo")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Any]:
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.asked, made.hold = [], threading.Event()  # type: ignore[attr-defined]
    made.url = f"http://127.0.0.1:{made.server_port}"  # type: ignore[attr-defined]
    made.daemon_threads = True
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield made
    made.hold.set()  # type: ignore[attr-defined]
    made.shutdown()
    made.server_close()


def test_a_photo_and_a_redirect(server: Any) -> None:
    assert fetch(f"{server.url}/a%20b é.jpg?w=1&h=ü#part", RULES) == b"photo"
    assert server.asked == ["/a%20b%20%C3%A9.jpg?w=1&h=%C3%BC"]
    assert fetch(f"{server.url}/to?/a.jpg", RULES) == b"photo"


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "[::1]", "[::]"),
        *("[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "0", "user:password@127.0.0.1", "127。0。0。1", "LOCALHOST"),
    ],
)
def test_this_machine_is_not_reached_under_any_name(server: Any, host: str) -> None:
    rules = SourceRules(schemes=("http",))
    with pytest.raises(QpertError, match=r"^address not public \(--allow-local-addresses\)$"):
        fetch(f"http://{host}:{server.server_port}/a.jpg", rules)
    assert server.asked == []


@pytest.mark.parametrize(
    ("address", "public"),
    [
        *((address, True) for address in ("8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808")),
        *((address, False) for address in ("127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.0.1", "169.254.169.254")),
        *((address, False) for address in ("100.64.0.1", "0.0.0.1", "224.0.0.1", "255.255.255.255", "198.18.0.1")),
        *((address, False) for address in ("::1", "::", "fe80::1", "fc00::1", "ff02::1", "::ffff:10.0.0.1")),
        *((address, False) for address in ("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "::127.0.0.1")),
    ],
)
def test_public_addresses(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_a_host_in_the_users_command_may_be_local_but_not_redirect_to_others(server: Any) -> None:
    rules = SourceRules(schemes=("http",), hosts=("127.0.0.1",))
    assert fetch(f"{server.url}/a.jpg", rules) == b"photo"
    with pytest.raises(QpertError, match=r"^address not public"):
        fetch(f"{server.url}/to?http://localhost:{server.server_port}/secret", rules)
    with pytest.raises(QpertError, match=r"^address not public"):
        fetch(f"{server.url}/to?/secret", rules)  # the trusted server is asked once
    assert "/secret" not in server.asked


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("to?file:///etc/hostname", "redirect to another scheme"),
        ("to?ftp://h/x", "redirect to another scheme"),
        ("to?zip::file:///x", "redirect to another scheme"),
        ("to?https://127.0.0.1/x", "scheme not allowed: https"),
        ("large", "^file too large: 2000 bytes, limit 1000$"),
        ("endless", "^file too large: more than 1000 bytes$"),
        ("400", "^the server answers HTTP 400$"),
    ],
)
def test_forbidden_responses(server: Any, path: str, reason: str) -> None:
    with pytest.raises(QpertError, match=reason):
        fetch(f"{server.url}/{path}", RULES)


def test_circular_redirects_end(server: Any) -> None:
    with pytest.raises(QpertError, match=r"^too many redirects$"):
        fetch(f"{server.url}/to?", RULES)
    assert len(server.asked) == 6


@pytest.mark.parametrize(
    ("path", "kind"),
    [("404", FileNotFoundError), ("403", PermissionError), ("503", ConnectionError), ("cut", ConnectionError)],
)
def test_failures_of_a_server(server: Any, path: str, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        fetch(f"{server.url}/{path}", RULES)


@pytest.mark.timeout(30)
def test_a_slow_server_is_abandoned(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "TOTAL_SECONDS", 0.2)
    started = time.monotonic()
    with pytest.raises(OSError, match="broke off"):
        fetch(f"{server.url}/trickle", RULES)
    assert time.monotonic() - started < 9.0  # the whole response takes ten seconds


@pytest.mark.parametrize("url", ["http://", "http://[", "http://h:99999/x", "http:///x", "http://h:x/"])
def test_invalid_urls(url: str) -> None:
    with pytest.raises(QpertError, match=r"^not a valid URL$|^no such host$"):
        fetch(url, RULES)

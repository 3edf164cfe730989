"""A server on this machine that answers as the Hugging Face hub does, for one repository, and can lose connections."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGEST_PLAIN = 2**20
"""Bytes from which a file is of the large kind, whose name in the cache is its SHA-256."""


@dataclass
class FakeHub:
    """What the server has, how it fails, and what it was asked.

    Attributes:
        name: of the repository.
        files: path -> content.
        cut: bytes after which the next answers break off, one of them for each; an answer with None does not.
        hang: an answer that would break off waits for `go` first.
        ranges: whether parts of files are served.
        sent: (path, first byte, bytes sent) of each answer with content.
    """

    name: str
    files: dict[str, bytes]
    cut: list[int | None] = field(default_factory=list)
    hang: bool = False
    ranges: bool = True
    sent: list[tuple[str, int, int]] = field(default_factory=list)
    go: threading.Event = field(default_factory=threading.Event)
    reached: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def entry(self, path: str) -> dict[str, object]:
        """A file as the hub lists it."""
        content = self.files[path]
        entry: dict[str, object] = {"type": "file", "path": path, "size": len(content), "oid": digest(content)[:40]}
        if len(content) >= LARGEST_PLAIN:
            entry["lfs"] = {"oid": digest(content), "sha256": digest(content), "size": len(content), "pointerSize": 134}
        return entry

    def answers(self, path: str) -> list[tuple[int, int]]:
        """First byte and number of bytes of each answer with content of a file."""
        return [(first, count) for name, first, count in self.sent if name == path]


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@contextmanager
def serving(hub: FakeHub) -> Iterator[FakeHub]:
    """The server runs within the block, at `hub.url`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            api = f"/api/models/{hub.name}"
            if path in (api, f"{api}/revision/main", f"{api}/revision/{COMMIT}"):
                siblings = [{"rfilename": name, **hub.entry(name)} for name in hub.files]
                self.send_json({"id": hub.name, "modelId": hub.name, "sha": COMMIT, "siblings": siblings})
            elif path.startswith(f"{api}/tree/"):
                self.send_json([hub.entry(name) for name in hub.files])
            elif path.startswith(f"/{hub.name}/resolve/") and path.split("/", 5)[5] in hub.files:
                self.send_content(path.split("/", 5)[5])
            else:
                self.send_response(404)
                self.send_header("X-Error-Code", "EntryNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()

        def send_json(self, value: object) -> None:
            body = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def send_content(self, name: str) -> None:
            content = hub.files[name]
            asked = self.headers.get("Range") if hub.ranges else None
            first = int(asked.removeprefix("bytes=").partition("-")[0]) if asked else 0
            self.send_response(206 if asked else 200)
            self.send_header("ETag", f'"{digest(content)}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(len(content) - first))
            if asked:
                self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            if self.command == "HEAD":
                return
            cut = hub.cut.pop(0) if hub.cut and len(content) >= LARGEST_PLAIN else None
            part = content[first:] if cut is None else content[first : first + cut]
            hub.sent.append((name, first, len(part)))
            self.wfile.write(part)
            if cut is not None:
                self.wfile.flush()
                hub.reached.set()
                if hub.hang:
                    hub.go.wait(60)
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.go.set()
        server.shutdown()
        server.server_close()

"""Listings of a bucket that lag behind: what was written is not listed at once, and what was deleted still is."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

_ENTRY = re.compile(rb"<Contents>.*?</Contents>", re.DOTALL)
_KEY = re.compile(rb"<Key>(.*?)</Key>", re.DOTALL)


@dataclass
class LaggingListing:
    """What listings say, `seconds` late.

    Attributes:
        seconds: how late.
        written: paths ``/bucket/key`` -> when they were written.
        deleted: path -> when it was deleted, and its size.
        hidden: how many entries were left out so far.
        shown: how many entries of deleted objects were listed.
    """

    seconds: float
    written: dict[str, float] = field(default_factory=dict)
    deleted: dict[str, tuple[float, int]] = field(default_factory=dict)
    hidden: int = 0
    shown: int = 0

    def comes(self, path: str) -> None:
        """An object was written."""
        self.written.setdefault(path, time.monotonic())
        self.deleted.pop(path, None)

    def leaves(self, path: str, head: tuple[bytes, bytes]) -> None:
        """An object is about to be deleted; `head` is the server's answer to HEAD."""
        length = re.search(rb"content-length: *(\d+)", head[0], re.IGNORECASE)
        if b" 200 " in head[0][:20] and length and not self._fresh(self.written.pop(path, 0.0)):
            self.deleted[path] = time.monotonic(), int(length[1])

    def show(self, path: str, query: dict[str, str], head: bytes, body: bytes) -> tuple[bytes, bytes]:
        """The answer to a request for a listing, as it was `seconds` ago."""
        bucket = path.strip("/")
        kept = []
        for entry in _ENTRY.findall(body):
            key = _KEY.search(entry)
            name = f"/{bucket}/{key[1].decode() if key else ''}"
            if self._fresh(self.written.get(name, 0.0)):
                self.hidden += 1
            else:
                kept.append(entry)
        prefix, delimiter = f"/{bucket}/{query.get('prefix', '')}", query.get("delimiter")
        for name, (when, size) in self.deleted.items():
            rest = name.removeprefix(prefix)
            if self._fresh(when) and name.startswith(prefix) and not (delimiter and delimiter in rest):
                self.shown += 1
                kept.append(
                    f"<Contents><Key>{escape(name.removeprefix(f'/{bucket}/'))}</Key><Size>{size}</Size>"
                    "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>".encode()
                )
        body = _ENTRY.sub(b"", body).replace(b"</ListBucketResult>", b"".join(kept) + b"</ListBucketResult>")
        body = re.sub(rb"<KeyCount>\d+</KeyCount>", b"<KeyCount>%d</KeyCount>" % len(kept), body)
        head = re.sub(rb"(?i)content-length: *\d+", b"Content-Length: %d" % len(body), head)
        return head, body

    def _fresh(self, when: float) -> bool:
        return time.monotonic() - when < self.seconds

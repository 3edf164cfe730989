"""How a bucket of many photos is listed: `python -m tests.buckets.many_objects 1000000 --folder-size 1000`.

moto looks through all of its objects for every page, so the pages come from a server that only pretends: it computes
the names of ``photos/0000/0000000.jpg`` ... as they are asked for, a thousand a page, as S3 gives them.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from tests.buckets.s3_server import ROOT

_PAGE = 1000
_ENTRY = (
    "<Contents><Key>{}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;0&quot;</ETag>"
    "<Size>150000</Size><StorageClass>STANDARD</StorageClass></Contents>"
)


class Pages(BaseHTTPRequestHandler):
    """Answers lists of one folder, with the delimiter ``/``."""

    protocol_version = "HTTP/1.1"
    count, folder_size, pause = 0, _PAGE, 0.0

    def do_HEAD(self) -> None:
        """There is nothing but lists."""
        self._answer(404 if urlsplit(self.path).path.strip("/").count("/") else 200, b"")

    def do_GET(self) -> None:
        """A page of a list; anything else is missing."""
        query = parse_qs(urlsplit(self.path).query)
        if "list-type" not in query:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        time.sleep(self.pause)
        prefix = unquote(query.get("prefix", [""])[0])
        start, size = int(query.get("continuation-token", ["0"])[0]), int(query.get("max-keys", [_PAGE])[0])
        names, more = self._names(prefix, start, size)
        body = "".join(
            f"<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>" if name.endswith("/") else _ENTRY.format(name)
            for name in names
        )
        token = f"<NextContinuationToken>{start + size}</NextContinuationToken>" if more else ""
        text = f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}<KeyCount>{len(names)}</KeyCount>{body}"
        self._answer(200, f"<ListBucketResult><Name>bucket</Name>{text}</ListBucketResult>".encode())

    def _names(self, prefix: str, start: int, size: int) -> tuple[list[str], bool]:
        parts = prefix.split("/")
        folders = -(-self.count // self.folder_size)
        if prefix in ("", "photos/"):
            end = folders if prefix else 1
            names = [f"photos/{number:04}/" if prefix else "photos/" for number in range(start, min(start + size, end))]
            return names, start + size < end
        if parts[0] != "photos" or not parts[1].isdecimal():
            return [], False
        first = int(parts[1]) * self.folder_size
        last = min(first + self.folder_size, self.count)
        numbers = range(first + start, min(first + start + size, last))
        return [f"{prefix}{number:07}.jpg" for number in numbers], first + start + size < last

    def _answer(self, code: int, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def pretended(count: int, folder_size: int, pause: float = 0.0) -> Iterator[str]:
    """The URL of a server in a process of its own, whose bucket ``bucket`` seems to hold so many photos."""
    words = [sys.executable, "-m", "tests.buckets.many_objects", str(count), "--folder-size", str(folder_size)]
    process = subprocess.Popen(
        [*words, "--pause", str(pause), "--serve"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def main() -> None:
    """Serve, or list what another process serves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("--folder-size", type=int, default=_PAGE, help="photos in a folder")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--serve", action="store_true", help="only serve, until standard input ends")
    options = parser.parse_args()
    if options.serve:
        Pages.count, Pages.folder_size, Pages.pause = options.count, options.folder_size, options.pause
        server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()
    from pipeline.datasets.photos.folder_walk import FolderWalk

    with pretended(options.count, options.folder_size, options.pause) as url:
        os.environ.update({"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"})
        before, started, first, found = _peak(), time.monotonic(), 0.0, 0
        for _ in FolderWalk("s3://bucket/photos").files():
            found += 1
            first = first or time.monotonic() - started
        seconds = time.monotonic() - started
    print(
        f"{found:,} photos in {seconds:.1f} s, the first after {first:.1f} s; {before:.0f} MB before, {_peak():.0f} MB"
    )


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()

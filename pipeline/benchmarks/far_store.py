"""A bucket that is far away: a folder served read-only as S3 does, each answer after a delay, and counted.

A program of its own, `python -m pipeline.benchmarks.far_store FOLDER SECONDS`: it prints its port, and ends with its
standard input. It speaks as much S3 as pyarrow's reading takes: HEAD, GET of ranges, and ListObjectsV2. Servers that
do more, such as moto's, are too slow themselves beside what is measured. Every request waits for its delay by itself,
so that requests on several connections overlap; a new connection waits once more, as for its handshake.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import formatdate
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from urllib.request import urlopen
from xml.sax.saxutils import escape

BUCKET = "far"
COUNTS = "/-/counts"
_RANGE = re.compile(r"range: *bytes=(\d+)-(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class FarStore:
    """A running server.

    Attributes:
        url: its endpoint; the folder is its bucket `BUCKET`.
    """

    url: str

    def counts(self) -> dict[str, int]:
        """Requests by method since the last call, and ``bytes`` sent as the content of files."""
        with urlopen(self.url + COUNTS) as answer:  # noqa: S310 - our own server
            counts: dict[str, int] = json.loads(answer.read())
        return counts


@contextmanager
def far_store(folder: Path, delay: float) -> Iterator[FarStore]:
    """Serves a folder, every answer `delay` seconds late, in a process of its own."""
    command = [sys.executable, "-m", "pipeline.benchmarks.far_store", str(folder), str(delay)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield FarStore(f"http://127.0.0.1:{int(process.stdout.readline())}")
    finally:
        process.kill()
        process.wait()


class _Server:
    def __init__(self, root: Path, delay: float) -> None:
        self.root, self.delay = root, delay
        self.counts: Counter[str] = Counter()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await asyncio.sleep(self.delay)
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                method, target, _ = head.split(" ", 2)
                if target == COUNTS:
                    self._send(writer, 200, json.dumps(self.counts).encode())
                    self.counts.clear()
                    continue
                self.counts[method] += 1
                await asyncio.sleep(self.delay)
                self._answer(writer, method, target, head)
                await writer.drain()
        writer.close()

    def _answer(self, writer: asyncio.StreamWriter, method: str, target: str, head: str) -> None:
        address = urlsplit(target)
        _, _, *rest = unquote(address.path).split("/", 2)
        query = {name: values[-1] for name, values in parse_qs(address.query, keep_blank_values=True).items()}
        if "list-type" in query:
            self._send(writer, 200, self._listing(query))
            return
        path = self.root / (rest[0] if rest else "")
        if not path.is_file():
            self._send(writer, 200 if path == self.root else 404, b"", length=0)
            return
        info = path.stat()
        fields = f'Last-Modified: {formatdate(info.st_mtime, usegmt=True)}\r\nETag: "{info.st_mtime_ns:x}"\r\n'
        if method == "HEAD":
            self._send(writer, 200, b"", fields, info.st_size)
            return
        wanted = _RANGE.search(head)
        first, last = (int(wanted[1]), min(int(wanted[2]), info.st_size - 1)) if wanted else (0, info.st_size - 1)
        with path.open("rb") as file:
            file.seek(first)
            data = file.read(last - first + 1)
        self.counts["bytes"] += len(data)
        fields += f"Content-Range: bytes {first}-{last}/{info.st_size}\r\n" if wanted else ""
        self._send(writer, 206 if wanted else 200, data, fields)

    def _listing(self, query: dict[str, str]) -> bytes:
        """All of a folder at once: of what is measured here no page is full."""
        prefix, folders, files = query.get("prefix", ""), set[str](), []
        for path in sorted(self.root.rglob("*")):
            name = path.relative_to(self.root).as_posix()
            rest = name.removeprefix(prefix)
            if not path.is_file() or not name.startswith(prefix):
                continue
            if query.get("delimiter") and "/" in rest:
                folders.add(prefix + rest.partition("/")[0] + "/")
                continue
            info = path.stat()
            when = datetime.fromtimestamp(info.st_mtime, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")
            files.append(
                f"<Contents><Key>{escape(name)}</Key><Size>{info.st_size}</Size><LastModified>{when}</LastModified>"
                "</Contents>"
            )
        shared = [f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name in sorted(folders)]
        return (
            "<?xml version='1.0'?><ListBucketResult xmlns='http://s3.amazonaws.com/doc/2006-03-01/'>"
            f"<Name>{BUCKET}</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(files) + len(shared)}</KeyCount>"
            f"<MaxKeys>1000000</MaxKeys><IsTruncated>false</IsTruncated>{''.join(files)}{''.join(shared)}"
            "</ListBucketResult>"
        ).encode()

    def _send(
        self, writer: asyncio.StreamWriter, status: int, body: bytes, fields: str = "", length: int | None = None
    ) -> None:
        size = len(body) if length is None else length
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {size}\r\n{fields}\r\n".encode("latin-1"))
        writer.write(body)


async def _main(root: Path, delay: float) -> None:
    listening = await asyncio.start_server(_Server(root, delay).serve, "127.0.0.1", 0)
    print(listening.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), float(sys.argv[2])))

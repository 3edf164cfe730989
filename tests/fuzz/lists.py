"""List files: what they name is worked out, not opened."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.datasets.photos.source import find_photos
from pipeline.errors import QpertError

SEEDS = [
    b"a.jpg\nsub/b.png\r\n\n# a comment\n~/c.jpg\n",
    "\ufeffs3://bucket/my photo.jpg\nfile:///x/é.jpg?a=b\n".encode(),
    b"zip::file:///x\nhttp://127.0.0.1/x\n../../etc/passwd\nC:\\x.jpg\n",
]


def run_one(data: bytes) -> None:
    """List the photos of a list file that holds `data`."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "photos.txt")
        path.write_bytes(data)
        with suppress(QpertError):
            photos = find_photos(str(path))
            for batch in photos.batches():  # type: ignore[union-attr]
                assert batch["image_id"].null_count == 0

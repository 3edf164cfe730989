"""Tars of photos, compressed and plain."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.datasets.photos.reading import read_photo
from pipeline.datasets.photos.rules import SourceRules
from pipeline.datasets.photos.shard import Shard
from pipeline.datasets.photos.shard_reading import read_shard
from pipeline.datasets.photos.tars import key_with_several_images
from pipeline.errors import QpertError


def _tar(form: int, *more: tarfile.TarInfo) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as tar:
        for name in ("0001.jpg", "0001.mask.png", "0001.txt", "x" * 120 + ".jpg", "é.jpg", "._a.jpg"):
            info = tarfile.TarInfo(name)
            info.size = 20
            tar.addfile(info, io.BytesIO(name.encode()[:1] * 20))
        for kind, name, target in ((tarfile.LNKTYPE, "h.jpg", "0001.jpg"), (tarfile.SYMTYPE, "s.jpg", "./h.jpg")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            tar.addfile(info)
        for info in more:
            tar.addfile(info)
    return file.getvalue()


def _sparse(version: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo("sparse.jpg")
    if version == "0.0":
        info.type = tarfile.GNUTYPE_SPARSE
    else:
        major, minor = version.split(".")
        info.pax_headers = {
            "GNU.sparse.major": major,
            "GNU.sparse.minor": minor,
            "GNU.sparse.realsize": "3298534883328",
        }
        info.pax_headers |= {"GNU.sparse.name": "sparse.jpg", "GNU.sparse.map": "0,1", "GNU.sparse.size": "99"}
    return info


_PLAIN = _tar(tarfile.PAX_FORMAT)
SEEDS = [
    _PLAIN,
    _tar(tarfile.GNU_FORMAT),
    _PLAIN[:3000],
    gzip.compress(_PLAIN),
    bz2.compress(_PLAIN),
    lzma.compress(_PLAIN),
    _PLAIN + _tar(tarfile.GNU_FORMAT),
    *(_tar(tarfile.PAX_FORMAT, _sparse(version)) for version in ("0.1", "1.0")),
    _tar(tarfile.GNU_FORMAT, _sparse("0.0")),
]


def _with_checksums(data: bytes) -> bytes:
    """The checksums of headers put right, so that changes get past them."""
    blocks = [data[at : at + 512] for at in range(0, len(data), 512)]
    for number, block in enumerate(blocks):
        if block[257:262] == b"ustar" and len(block) == 512:
            total = sum(block[:148]) + 8 * 32 + sum(block[156:])
            blocks[number] = block[:148] + b"%06o\0 " % total + block[156:]
    return b"".join(blocks)


def run_one(data: bytes) -> None:
    """Read a tar that holds `data`, of odd length as it is, else with its checksums put right."""
    data = data if len(data) % 2 else _with_checksums(data)
    with TemporaryDirectory() as folder:
        path = str(Path(folder, "t.tar"))
        Path(path).write_bytes(data)
        key_with_several_images(path)
        for rules in (SourceRules(max_bytes=2**20), SourceRules(image_key="jpg", max_bytes=10)):
            rows = [
                row for table in read_shard(Shard("tar", path, "t.tar"), 2, rules=rules) for row in table.to_pylist()
            ]
            assert all((row["data"] is None) != (row["error"] is None) for row in rows)
            for row in rows[:2]:
                if row["data"] is None:
                    continue
                with suppress(QpertError):
                    assert read_photo(row["uri"]) == row["data"]

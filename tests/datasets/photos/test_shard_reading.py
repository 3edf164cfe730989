"""Reading tars of photos whole and one photo at a time, with odd names and damage."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from pipeline.datasets.photos.found_photos import Shards
from pipeline.datasets.photos.reading import read_photo
from pipeline.datasets.photos.shard import member_uri
from pipeline.datasets.photos.shard_reading import count_photos, read_shard
from pipeline.datasets.photos.source import find_photos
from pipeline.errors import QpertError


def write_tar(path: Path, names: list[str], mode: str = "w", size: int = 0) -> None:
    """Writes a tar of members that hold their number and name, padded to `size` bytes."""
    with tarfile.open(path, mode) as tar:
        for at, name in enumerate(names):
            data = f"{at} {name}".encode("utf-8", "surrogateescape").ljust(size)
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def rows_of(source: str) -> list[dict[str, Any]]:
    photos = find_photos(source)
    assert isinstance(photos, Shards)
    return [row for shard in photos.shards for table in read_shard(shard, 2) for row in table.to_pylist()]


def test_webdataset_tars(tmp_path: Path) -> None:
    write_tar(tmp_path / "00.tar", ["000.jpg", "000.json", "001.png", "000.jpg"])
    write_tar(tmp_path / "01.tar.gz", ["002.jpg"], "w:gz")
    photos = find_photos(str(tmp_path))
    assert isinstance(photos, Shards)
    assert photos.count is None
    assert [count_photos(shard) for shard in photos.shards] == [3, 1]
    rows = rows_of(str(tmp_path))
    names = ["00.tar/000.jpg", "00.tar/001.png", "00.tar/000.jpg#2", "01.tar.gz/002.jpg"]
    assert [row["image_id"] for row in rows] == names
    assert rows[1]["uri"] == f"file://{tmp_path}/00.tar#001.png"
    assert sum(table.num_rows for table in read_shard(photos.shards[0], 2, limit=1)) == 1


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_the_uri_names_the_member(tmp_path: Path, ending: str) -> None:
    odd = ["a.jpg", "sub/h#1.jpg", "a.jpg", "my 100%;2.jpg", "x.tar#y.jpg", "é?.jpg", "a.jpg", "caf\udce9.jpg"]
    (tmp_path / "x.tar#z").mkdir()
    write_tar(tmp_path / "x.tar#z" / f"my #1%20.tar{ending}", odd, f"w:{ending[1:]}")
    for source in (f"{tmp_path}/x.tar#z", f"file://{tmp_path}/x.tar#z?region=x"):
        rows = rows_of(source)
        tar = f"my #1%20.tar{ending}"
        assert [row["image_id"] for row in rows] == [
            *(f"{tar}/{name}" for name in odd[:2]),
            f"{tar}/a.jpg#2",
            *(f"{tar}/{name}" for name in odd[3:6]),
            f"{tar}/a.jpg#3",
            f"{tar}/caf\ufffd.jpg",
        ]
        assert [read_photo(row["uri"]) for row in rows] == [row["data"] for row in rows]
        assert [row["data"][:1] for row in rows] == [b"%d" % at for at in range(8)]


@pytest.mark.parametrize("length", [3 * 1024 + 512 + 3, 3 * 1024 + 100], ids=["in a photo", "in a header"])
def test_a_tar_that_breaks_off_keeps_what_came_before(tmp_path: Path, length: int) -> None:
    write_tar(tmp_path / "00.tar", [f"{n:03}.jpg" for n in range(6)])
    whole = (tmp_path / "00.tar").read_bytes()
    (tmp_path / "00.tar").write_bytes(whole[:length])
    rows = rows_of(str(tmp_path))
    assert [row["image_id"] for row in rows] == ["00.tar/000.jpg", "00.tar/001.jpg", "00.tar/002.jpg", "00.tar"]
    assert rows[-1]["data"] is None
    assert rows[-1]["error"].startswith("damaged archive")


@pytest.mark.parametrize("damage", ["cut off", "overwritten"])
def test_a_damaged_compressed_tar_fails_with_a_reason(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "00.tar.gz"
    write_tar(path, [f"{n:03}.jpg" for n in range(6)], "w:gz", size=4000)
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] if damage == "cut off" else whole[:middle] + b"\xff" * 100 + whole[middle + 100 :])
    rows = rows_of(str(tmp_path))
    assert rows[0]["image_id"] == "00.tar.gz/000.jpg"
    assert read_photo(rows[0]["uri"]) == rows[0]["data"]
    assert rows[-1]["error"].startswith("damaged archive: ")
    with pytest.raises(QpertError, match=r"^damaged archive: "):
        read_photo(member_uri(str(path), "005.jpg"))


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("{}/00.tar#001.jpg", "^not in the archive: 001.jpg$"),
        ("{}/00.tar#000.jpg;2", "^not in the archive: 000.jpg$"),
        ("{}/00.tar#000.jpg;x", "^not a photo in a tar or Parquet file: "),
        ("{}/gone.tar#000.jpg", "^file not found$"),
        ("{}/gone.parquet#jpg;3", "^file not found: "),
        ("{}/gone.parquet#3", "^not a photo in a tar or Parquet file: "),
    ],
)
def test_missing_photos_have_a_reason(tmp_path: Path, uri: str, reason: str) -> None:
    write_tar(tmp_path / "00.tar", ["000.jpg"])
    with pytest.raises(QpertError, match=reason):
        read_photo(uri.format(f"file://{tmp_path}"))

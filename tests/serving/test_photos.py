"""Photos and thumbnails: new JPEG files of photos of the set, whatever the files are and however they are called."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

GPS, ORIENTATION = 0x8825, 0x0112


@pytest.fixture
def client_of(
    make_client: Callable[..., TestClient], write_features: Callable[..., Any], tmp_path: Path
) -> Callable[[dict[str, bytes]], TestClient]:
    """A function that serves a set of files."""

    def make(files: dict[str, bytes]) -> TestClient:
        folder = tmp_path / "given"
        folder.mkdir()
        for name, data in files.items():
            (folder / name).write_bytes(data)
        vectors = np.tile(np.eye(4)[:1, None], (len(files), 1, 1))
        return make_client(write_features(vectors, list(files), folder=folder, name="given").root)

    return make


def opened(client: TestClient, address: str) -> Image.Image:
    answer = client.get(address)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    return Image.open(io.BytesIO(answer.content))


def photo_bytes(size: tuple[int, int], exif: Image.Exif | None = None, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 10, 10)).save(buffer, kind, **({"exif": exif} if exif else {}))
    return buffer.getvalue()


def test_metadata_are_left_out_and_photos_are_upright(client_of: Callable[[dict[str, bytes]], TestClient]) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    exif.get_ifd(GPS)[2] = (52.0, 31.0, 12.0)
    client = client_of({"home.jpg": photo_bytes((80, 40), exif)})
    image = opened(client, "/photos/given/home.jpg")
    assert image.size == (40, 80)
    assert not image.getexif()
    assert "exif" not in image.info


def test_thumbnails_have_one_of_a_few_sizes(client_of: Callable[[dict[str, bytes]], TestClient]) -> None:
    client = client_of({"large.png": photo_bytes((900, 300), kind="PNG")})
    assert opened(client, "/thumbnails/given/large.png").size == (320, 107)
    assert opened(client, "/thumbnails/given/large.png?size=160").size == (160, 53)
    assert opened(client, "/thumbnails/given/large.png?size=1280").size == (900, 300)
    for size in ("161", "100000", "-1", "x", ""):
        assert client.get(f"/thumbnails/given/large.png?size={size}").status_code == 422


def test_what_is_no_photo_never_reaches_a_browser(client_of: Callable[[dict[str, bytes]], TestClient]) -> None:
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    client = client_of({"a.jpg": svg, "b.png": b"<html><script>alert(1)</script>", "c.jpg": b""})
    for name in ("a.jpg", "b.png", "c.jpg"):
        answer = client.get(f"/photos/given/{name}")
        assert answer.status_code == 422
        assert b"alert" not in answer.content


def test_a_file_behind_the_picture_is_left_out(client_of: Callable[[dict[str, bytes]], TestClient]) -> None:
    client = client_of({"a.jpg": photo_bytes((20, 20)) + b"<script>alert(1)</script>"})
    assert b"alert" not in client.get("/photos/given/a.jpg").content


def test_browsers_ask_whether_it_is_the_same(client_of: Callable[[dict[str, bytes]], TestClient]) -> None:
    client = client_of({"a.jpg": photo_bytes((20, 20))})
    first = client.get("/thumbnails/given/a.jpg")
    assert first.headers["cache-control"].startswith("private")
    again = client.get("/thumbnails/given/a.jpg", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_changed_file_is_shown_anew(client_of: Callable[[dict[str, bytes]], TestClient], tmp_path: Path) -> None:
    client = client_of({"a.jpg": photo_bytes((20, 20))})
    assert opened(client, "/photos/given/a.jpg").size == (20, 20)
    (tmp_path / "given" / "a.jpg").write_bytes(photo_bytes((30, 30)))
    assert opened(client, "/photos/given/a.jpg").size == (30, 30)


@pytest.mark.parametrize(
    "address",
    [
        "/photos/given/../../../etc/passwd",
        "/photos/given/..%2F..%2F..%2Fetc%2Fpasswd",
        "/photos/given/%2Fetc%2Fpasswd",
        "/photos/given/a.jpg%00",
        "/photos/given/a.jpg/",
        "/photos/given/" + "x" * 5000,
        "/photos/others/a.jpg",
        "/photos/given/a.jpg?part=other",
    ],
)
def test_only_photos_of_the_set_are_shown(
    client_of: Callable[[dict[str, bytes]], TestClient], address: str, tmp_path: Path
) -> None:
    client = client_of({"a.jpg": photo_bytes((20, 20))})
    answer = client.get(address)
    assert answer.status_code == 404
    assert "error" in answer.json()


def test_a_photo_that_is_gone_is_said_to_be(client: TestClient, photos: Path) -> None:
    (photos / "1.png").unlink()
    answer = client.get("/photos/axes/1.png")
    assert answer.status_code == 404
    assert "file not found" in answer.json()["error"]["message"]


def test_ids_may_hold_line_breaks(client_of: Callable[[dict[str, bytes]], TestClient]) -> None:
    client = client_of({"a\nb.jpg": photo_bytes((8, 8)), "c.jpg\n": photo_bytes((8, 8))})
    for kind in ("photos", "thumbnails"):
        assert opened(client, f"/{kind}/given/a%0Ab.jpg").size == (8, 8)
        assert opened(client, f"/{kind}/given/c.jpg%0A").size == (8, 8)

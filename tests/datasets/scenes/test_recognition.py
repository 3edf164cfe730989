"""Scenes are told from real photos in every kind of source, and nothing that a source does is an error."""

from __future__ import annotations

import io
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.datasets.photos.found_photos import Listing
from pipeline.datasets.photos.source import find_photos
from pipeline.datasets.scenes import draw_scene, make_scene, recognition, write_scenes
from pipeline.datasets.scenes.recognition import are_scenes


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the images of five scenes alone."""
    root = tmp_path_factory.mktemp("scenes")
    write_scenes(root / "data", 5, seed=3)
    return (root / "data" / "images").rename(root / "alone")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of five pictures that are not scenes."""
    root = tmp_path_factory.mktemp("photos")
    for number in range(5):
        Image.new("RGB", (64, 48), (40 * number, 90, 120)).save(root / f"{number}.jpg")
    return root


def as_folder(images: Path, out: Path) -> str:
    return str(images)


def as_list(images: Path, out: Path) -> str:
    path = out / "photos.txt"
    path.write_text("".join(f"{image}\n" for image in sorted(images.iterdir())))
    return str(path)


def as_glob(images: Path, out: Path) -> str:
    return f"{images}/*.jpg"


def as_tar(images: Path, out: Path) -> str:
    path = out / "photos.tar"
    with tarfile.open(path, "w") as tar:
        for image in sorted(images.iterdir()):
            tar.add(image, image.name)
    return str(path)


def as_parquet(images: Path, out: Path) -> str:
    path = out / "photos.parquet"
    pq.write_table(pa.table({"bytes": [image.read_bytes() for image in sorted(images.iterdir())]}), path)
    return str(path)


@pytest.mark.parametrize("source", [as_folder, as_list, as_glob, as_tar, as_parquet])
def test_every_kind_of_source_is_judged(
    scenes: Path, photos: Path, tmp_path: Path, source: Callable[[Path, Path], str]
) -> None:
    for name, images, expected in (("scenes", scenes, True), ("photos", photos, False)):
        out = tmp_path / name
        out.mkdir()
        assert are_scenes(find_photos(source(images, out))) is expected


def test_scenes_of_earlier_versions_are_known_by_their_captions(tmp_path: Path, photos: Path) -> None:
    write_scenes(tmp_path / "data", 3, seed=3)
    images = tmp_path / "data" / "images"
    for path in images.iterdir():
        with Image.open(path) as image:
            image.info.pop("comment")
            image.save(path)
    assert are_scenes(find_photos(str(images))) is True
    (tmp_path / "data" / "dataset_scenes.json").unlink()
    assert are_scenes(find_photos(str(images))) is False


def test_one_real_photo_among_the_first_decides(scenes: Path, photos: Path, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed.txt"
    mixed.write_text(f"{next(iter(sorted(scenes.iterdir())))}\n{photos / '0.jpg'}\n")
    assert are_scenes(find_photos(str(mixed))) is False


def test_photos_that_cannot_be_read_leave_it_open(tmp_path: Path) -> None:
    missing = tmp_path / "photos.txt"
    missing.write_text("gone.jpg\nlost.jpg\n")
    assert are_scenes(find_photos(str(missing))) is None
    broken = tmp_path / "broken.tar"
    broken.write_bytes(b"not a tar" * 200)
    assert are_scenes(find_photos(str(broken))) is None


def test_a_source_that_fails_is_not_an_error() -> None:
    def items() -> None:
        raise OSError("the bucket is on fire")

    assert are_scenes(Listing("folder", "photos", items)) is None  # type: ignore[arg-type]


def test_a_storage_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, photos: Path) -> None:
    monkeypatch.setattr(recognition, "_PATIENCE", 0.05)
    released = threading.Event()
    monkeypatch.setattr(recognition, "read_photo", lambda *_: released.wait(30) and b"")
    assert are_scenes(find_photos(str(photos))) is None
    released.set()


def test_the_mark_changes_no_pixel() -> None:
    scene = draw_scene(make_scene(1, 0))
    plain = Image.frombytes("RGB", scene.size, scene.tobytes())
    decoded = []
    for picture in (scene, plain):
        data = io.BytesIO()
        picture.save(data, "JPEG", quality=92)
        decoded.append((recognition.MARK in data.getvalue(), Image.open(data).tobytes()))
    assert [marked for marked, _ in decoded] == [True, False]
    assert decoded[0][1] == decoded[1][1]

"""Finding the photos of captioned images, and listing them for the index."""

from __future__ import annotations

import pytest

from pipeline.datasets.captioned_image import CaptionedImage
from pipeline.datasets.captions.image_files import find_images, write_list
from pipeline.datasets.photos.source import find_photos
from pipeline.errors import QpertError

CAPTIONS = [CaptionedImage(name, ["x"]) for name in ("c.jpg", "a.jpg", "gone.jpg", "b.png")]


@pytest.fixture
def root(tmp_path):
    for name in ("train/a.jpg", "val/deep/b.png", "c.jpg", "other.jpg", "val/other.jpg", "notes.txt", ".hidden/a.jpg"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path / "photos"


def test_images_are_found_at_any_depth_in_the_order_of_the_captions(root):
    images = find_images(CAPTIONS, root)
    assert list(images.found.items()) == [
        ("c.jpg", f"{root}/c.jpg"),
        ("a.jpg", f"{root}/train/a.jpg"),
        ("b.png", f"{root}/val/deep/b.png"),
    ]
    assert images.missing == ("gone.jpg",)
    assert images.summary() == "1 of 4 captioned images are missing: gone.jpg"
    assert find_images(CAPTIONS[:2], str(root)).summary() == ""


def test_the_summary_counts_and_names_the_first(root):
    captions = [CaptionedImage(f"{i}.jpg", []) for i in range(1200)]
    summary = find_images(captions, root).summary(2)
    assert summary == "1,200 of 1,200 captioned images are missing: 0.jpg, 1.jpg, ..."


def test_two_photos_with_the_same_name_are_refused(root):
    (root / "val" / "a.jpg").write_bytes(b"")
    with pytest.raises(QpertError, match=r"a\.jpg exists twice: .*photos/train/a\.jpg and .*photos/val/a\.jpg"):
        find_images(CAPTIONS, root)
    assert find_images(CAPTIONS[:1], root).missing == ()  # other.jpg exists twice as well, but is not wanted


def test_the_list_holds_exactly_the_captioned_images(root, tmp_path):
    beside, elsewhere = root.parent / "list.txt", tmp_path / "x" / "y" / "list.txt"
    images = find_images(CAPTIONS, root)
    for target in (beside, elsewhere):
        write_list(images, target)
    pairs = list(find_photos(str(beside)).pairs())
    assert [line for line, _ in pairs] == ["photos/c.jpg", "photos/train/a.jpg", "photos/val/deep/b.png"]
    assert [uri for _, uri in pairs] == list(images.found.values())
    assert list(find_photos(str(elsewhere)).pairs()) == [(uri, uri) for uri in images.found.values()]


def test_a_relative_root(root, monkeypatch):
    monkeypatch.chdir(root.parent)
    images = find_images(CAPTIONS, "photos")
    write_list(images, "list.txt")
    assert (root.parent / "list.txt").read_text().splitlines()[0] == "photos/c.jpg"


@pytest.mark.parametrize("name", ["#a.jpg", " a.jpg", "a\n.jpg"])
def test_names_that_a_list_cannot_hold(root, name):
    (root / name).write_bytes(b"")
    images = find_images([CaptionedImage(name, ["x"])], root)
    assert images.missing == ()
    with pytest.raises(QpertError, match="cannot be written in a list file"):
        write_list(images, root / "list.txt")


def test_no_image_found_or_no_such_folder_is_an_error(root, tmp_path):
    with pytest.raises(QpertError, match=r"no captioned images to list .* 1 of 1 captioned images are missing"):
        write_list(find_images(CAPTIONS[2:3], root), tmp_path / "list.txt")
    with pytest.raises(QpertError, match="there is no"):
        find_images(CAPTIONS, tmp_path / "nowhere")
    (root / "empty").mkdir()
    with pytest.raises(QpertError, match="holds no photos"):
        find_images(CAPTIONS, root / "empty")
    write_list(find_images(CAPTIONS, root), root / "list.txt")
    with pytest.raises(QpertError, match="list file"):
        find_images(CAPTIONS, root / "list.txt")


def test_a_list_that_cannot_be_written(root):
    with pytest.raises(QpertError, match="cannot write"):
        write_list(find_images(CAPTIONS, root), root / "c.jpg" / "list.txt")

"""Captions that are folders: Urban-1k, DCI and SORCE-1K, as their publications describe them."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from pipeline.datasets.captioned_image import CaptionedImage
from pipeline.datasets.captions.reading import read_captions
from pipeline.errors import QpertError


def fill(root: Path, files: dict[str, Any]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return root


@pytest.fixture
def sorce(tmp_path: Path) -> Path:
    rows = [{"image": "1.jpg", "caption": "a red key"}, {"image": "2.jpg", "caption": "a tiny star"}]
    photos = {f"{level}/{row['image']}": "" for level in ("full_res", "zoom_2x", "zoom_3x") for row in rows}
    return fill(tmp_path, {"dataset.jsonl": "".join(json.dumps(row) + "\n" for row in rows), **photos})


def test_sorce_has_one_gallery_of_three_levels(sorce: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images = read_captions(sorce)
        assert read_captions(sorce, None, strict=True) == images
    assert images[:4] == [
        CaptionedImage("full_res/1.jpg", ["a red key"], "1.jpg"),
        CaptionedImage("zoom_2x/1.jpg", ["a red key"], "1.jpg"),
        CaptionedImage("zoom_3x/1.jpg", ["a red key"], "1.jpg"),
        CaptionedImage("full_res/2.jpg", ["a tiny star"], "2.jpg"),
    ]
    assert len(images) == 6


def test_one_level_of_sorce_asks_and_all_answer(sorce: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images = read_captions(sorce, "zoom_3x")
    assert [image.captions for image in images] == [[], [], ["a red key"], [], [], ["a tiny star"]]
    assert len({image.copy_of for image in images}) == 2


def test_the_list_of_sorce_by_itself_is_one_level(sorce: Path) -> None:
    assert read_captions(sorce / "dataset.jsonl") == [
        CaptionedImage("1.jpg", ["a red key"]),
        CaptionedImage("2.jpg", ["a tiny star"]),
    ]


def test_a_level_that_is_not_there(sorce: Path) -> None:
    (sorce / "zoom_3x" / "1.jpg").unlink()
    (sorce / "zoom_3x" / "2.jpg").unlink()
    (sorce / "zoom_3x").rmdir()
    with pytest.raises(QpertError, match=r"no folder zoom_3x; it has: full_res, zoom_2x"):
        read_captions(sorce, "zoom_3x")
    assert len(read_captions(sorce)) == 4


def test_bad_lines_of_sorce_are_left_out(sorce: Path) -> None:
    good = '{"image": "3.jpg", "caption": "x"}\n' * 1
    lines = ["not JSON\n", "[1]\n", '{"caption": "x"}\n', '{"image": "1.jpg", "caption": "again"}\n']
    with (sorce / "dataset.jsonl").open("a") as file:
        file.writelines([*lines, good])
    with pytest.warns(UserWarning, match="4 entries cannot be read and are left out: line 3 is not valid JSON"):
        images = read_captions(sorce)
    assert [image.image_id for image in images[::3]] == ["full_res/1.jpg", "full_res/2.jpg", "full_res/3.jpg"]
    with pytest.raises(QpertError, match="line 3 is not valid JSON"):
        read_captions(sorce, strict=True)


def test_pairs_of_urban_1k(tmp_path: Path) -> None:
    texts = {f"caption/{number}.txt": f"Street {number}.\nWith  a sign.\n" for number in (1, 2, 10)}
    root = fill(tmp_path, {**texts, "image/1.jpg": "", "image/2.JPG": "", "image/10.png": "", "image/.DS_Store": ""})
    assert read_captions(root, strict=True) == [
        CaptionedImage("1.jpg", ["Street 1. With a sign."]),
        CaptionedImage("2.JPG", ["Street 2. With a sign."]),
        CaptionedImage("10.png", ["Street 10. With a sign."]),
    ]


def test_pairs_without_their_other_half(tmp_path: Path) -> None:
    root = fill(tmp_path, {"image/1.jpg": "", "image/2.jpg": "", "caption/1.txt": "one", "caption/3.txt": "three"})
    with pytest.warns(UserWarning, match="cannot be read and are left out") as caught:
        assert read_captions(root) == [CaptionedImage("1.jpg", ["one"]), CaptionedImage("2.jpg", [])]
    text = " | ".join(str(warning.message) for warning in caught)
    assert "1 entries cannot be read and are left out: caption/3.txt has no photo in image/" in text
    assert "1 images have no captions and are only distractors; the first: 2.jpg" in text
    with pytest.raises(QpertError, match=r"caption/3\.txt has no photo"):
        read_captions(root, strict=True)


def dci(name: str, caption: object = "A long text.") -> dict[str, object]:
    mask = {"outer_mask": "iVBORw0KGgo=", "label": "sky", "bounds": [[0, 0], [9, 9]], "mask_quality": 0}
    return {"image": name, "short_caption": "short", "extra_caption": caption, "mask_data": {"7": mask}}


def test_dci_has_a_file_per_photo(tmp_path: Path) -> None:
    files = {"annotations/a.json": dci("sa_1.jpg"), "annotations/b.json": dci("sa_2.jpg", "Other.")}
    root = fill(tmp_path, {**files, "splits.json": {"train": ["a.json"], "test": ["b.json"]}})
    both = [CaptionedImage("sa_1.jpg", ["A long text."]), CaptionedImage("sa_2.jpg", ["Other."])]
    assert read_captions(root, None, strict=True) == both
    assert read_captions(root) == both[1:]
    assert read_captions(root / "annotations") == both
    with pytest.raises(QpertError, match="has no split 'val'; it has: train, test"):
        read_captions(root, "val")


def test_bad_files_of_dci_are_left_out(tmp_path: Path) -> None:
    good = {f"annotations/{name}.json": dci(f"{name}.jpg") for name in "abcd"}
    bad = {"annotations/e.json": "{", "annotations/f.json": dci("f.jpg", 7), "annotations/g.json": dci("g.jpg", " ")}
    root = fill(tmp_path, {**good, **bad})
    with pytest.warns(UserWarning, match="cannot be read and are left out") as caught:
        images = read_captions(root)
    assert [len(image.captions) for image in images] == [1, 1, 1, 1, 0, 0]
    text = " | ".join(str(warning.message) for warning in caught)
    assert "2 entries cannot be read and are left out: " in text
    assert "f.json, extra_caption is not a caption: '7' is not text" in text
    assert "1 blank captions are left out; the first: g.json, extra_caption" in text
    with pytest.raises(QpertError, match=r"e\.json: Invalid JSON"):
        read_captions(root, strict=True)


def test_a_list_of_dci(tmp_path: Path) -> None:
    root = fill(tmp_path, {"anno.json": [dci("sa_1.jpg"), {"image": "sa_2.jpg", "extra_caption": "Other."}]})
    assert read_captions(root / "anno.json") == [
        CaptionedImage("sa_1.jpg", ["A long text."]),
        CaptionedImage("sa_2.jpg", ["Other."]),
    ]


def test_other_folders_are_refused(tmp_path: Path) -> None:
    root = fill(tmp_path, {"images/1.jpg": "", "notes.json": {"a": 1}})
    with pytest.raises(QpertError, match=r"not a file, nor a folder of captions as of Urban-1k .*DCI .*SORCE-1K"):
        read_captions(root)

"""The sets that are served to the tests of the page: one of them has names, labels and dates that no scene has."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

COUNT = 60
QUERY = "a small red star"
MARKUP = "<img src=x onerror=\"document.title='hit'\">"
LABEL = "<script>document.title='hit'</script>"
ODD_NAMES = [
    f"{MARKUP}.jpg",
    "a#b?c&d=e%2F+.jpg",
    "quotes \"'`.jpg",
    "\u202egpj.turned\u202c.jpg",
    "صورة شمسية.jpg",
    "n" * 180 + ".jpg",
    "folder/one two/10 %.jpg",
    "folder/two..dots/3.jpg",
]
ODD_SET = "odd"
YEARS = range(2018, 2018 + len(ODD_NAMES))


def write_odd_photos(photos: Path, folder: Path) -> Path:
    """Writes photos with odd names, each taken in another year; returns their annotations, in COCO's format."""
    images, boxes = [], []
    for number, name in enumerate(ODD_NAMES):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.open(photos / f"{number:06d}.jpg")
        exif = image.getexif()
        exif.get_ifd(0x8769)[0x9003] = f"{YEARS[number]}:07:01 12:30:00"  # DateTimeOriginal
        image.save(path, exif=exif)
        images.append({"id": number, "file_name": name, "width": image.width, "height": image.height})
        boxes.append({"id": number, "image_id": number, "category_id": 1 + number % 2, "bbox": [20, 30, 60, 50]})
    categories = [{"id": 1, "name": LABEL}, {"id": 2, "name": "\u202elabel, " + "long " * 30}]
    path = folder.parent / "instances.json"
    path.write_text(json.dumps({"images": images, "annotations": boxes, "categories": categories}))
    return path

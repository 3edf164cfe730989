"""Captions and boxes in all their forms."""

from __future__ import annotations

import gzip
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa

from pipeline.datasets.boxes.areas import largest_areas
from pipeline.datasets.boxes.photo_boxes import Boxes
from pipeline.datasets.boxes.reading import read_boxes
from pipeline.datasets.captioned_image import CaptionedImage
from pipeline.datasets.captions.reading import read_captions
from pipeline.errors import QpertError

_NAMES = (
    *("a.json", "a.csv", "a.tsv", "a.jsonl", "boxes.json", "Annotations/a.xml", "Sentences/a.txt", "a.JSON"),
    *("results.token", "results.txt", "a.jsonlines", "a.json.gz", "boxes.json.gz", "annotations/a.json"),
    *("caption/a.txt", "dataset.jsonl"),
)
_ENTITIES = ("Annotations/a.xml", "Sentences/a.txt")
_BESIDE = {"caption/a.txt": "image/a.jpg", "dataset.jsonl": "full_res/a.jpg"}
"""What makes a folder one of captions."""
SEEDS = [
    b'\0{"images": [{"filename": "a.jpg", "split": "test", "sentences": [{"raw": "x"}]}]}',
    b'\0[{"image": "f/a.jpg", "caption": ["x", "y"]}, {"image": "b.jpg", "caption": "z"}]',
    b'\0{"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"image_id": 1, "caption": "x"}]}',
    b'\1image,caption\na.jpg,"a ""b"", c"\nb.jpg,"[""x"", ""y""]"\n',
    b"\2file_name\tcaption\tsplit\na.jpg\tx\ttest\n",
    b'\3{"image": "a.jpg", "caption": "x"}\n\n{"image": "b.jpg", "caption": ["y"]}\n',
    b'\4{"images": [{"id": 1, "file_name": "a.jpg", "width": 9, "height": 9}], "categories": [{"id": 2, "name": "c"}],'
    b' "annotations": [{"image_id": 1, "category_id": 2, "bbox": [1, 1, 2.5, 1e3], "segmentation": [[1]]}]}',
    b'\4{"1": {"a cat": {"detections": {"cat": [[0, [0.0, 1.0, 2.0, 3.0]]]}, "split": "test"}}}',
    b"\5<annotation><size><width>9</width><height>9</height></size><object><name>1</name><bndbox><xmin>1</xmin>"
    b"<ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox></object></annotation>",
    b"\6[/EN#1/people A man] sits .\n",
    b"\10a.jpg#0\tA dog .\na.jpg#1\tTwo .\n\n",
    b"\11image_name| comment_number| comment\na.jpg| 0| x | y\nb.jpg| 4   z\n",
    b'\12{"example_id": "a", "split": "test", "image_file": "a.jpg", "description": "x"}\n',
    b"\13" + gzip.compress(b'[{"image": "a.jpg", "extra_caption": "x"}, {"image": "b.jpg",},]'),
    b"\14"
    + gzip.compress(
        b'{"images": [{"id": "1", "coco_url": "http://x/a.jpg", "width": 9, "height": 9, "expressions": ["x"]}],'
        b' "categories": [{"id": 2, "name": "c_d", "synset": "c"}],'
        b' "annotations": [{"image_id": 1, "category_id": "2", "bbox": [1, 1, 2.5, NaN]}]}'
    ),
    b'\15{"image": "a.jpg", "extra_caption": "x", "mask_data": {"1": {"bounds": {"topLeft": {"x": 0, "y": 0},'
    b' "bottomRight": {"x": 1, "y": 2}}, "label": "c", "mask_quality": 1}, "2": {"bounds": [[0, 1], [2, 3]]}}}',
    b"\16A street .\n",
    b'\17{"image": "a.jpg", "caption": "x"}\n',
]


def run_one(data: bytes) -> None:
    """Read `data` as the form that its first byte says."""
    name = _NAMES[data[0] % len(_NAMES)] if data else _NAMES[0]
    with TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data[1:])
        if name == "Sentences/a.txt":
            Path(folder, "Annotations").mkdir()
            Path(folder, "Annotations/a.xml").write_text("<annotation><object><name>1</name></object></annotation>")
        if beside := _BESIDE.get(name):
            Path(folder, beside).parent.mkdir()
            Path(folder, beside).touch()
        is_folder = "/" in name or name == "dataset.jsonl"
        for strict in (False, True):
            if name in _ENTITIES or name.startswith(("boxes", "annotations")):
                with suppress(QpertError):
                    _look_up(read_boxes(folder if is_folder else path, strict=strict))
            if name not in _ENTITIES and not name.startswith("boxes"):
                for split in ("test", None):
                    with suppress(QpertError):
                        images = read_captions(folder if is_folder else path, split, strict=strict)
                        assert images
                        pa.array([text for image in images for text in image.captions], pa.string())


def _look_up(boxes: Boxes) -> None:
    for photo in (boxes.of("a.jpg"), boxes.of("1.jpg"), *(photo for _, photo in boxes.all())):
        pa.array([label for label, _ in photo.boxes] if photo else [], pa.string())  # as features have them
    largest_areas(boxes, [CaptionedImage("a.jpg", []), CaptionedImage("1.jpg", [])], lambda _: (9, 9))

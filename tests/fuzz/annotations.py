"""Captions and boxes in all their forms."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa

from pipeline.datasets.boxes.areas import largest_areas
from pipeline.datasets.boxes.reading import read_boxes
from pipeline.datasets.captioned_image import CaptionedImage
from pipeline.datasets.captions.reading import read_captions
from pipeline.errors import QpertError

_NAMES = ("a.json", "a.csv", "a.tsv", "a.jsonl", "boxes.json", "Annotations/a.xml", "Sentences/a.txt", "a.JSON")
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
        if "/" in name or name.startswith("boxes"):
            with suppress(QpertError):
                boxes = read_boxes(folder if "/" in name else path)
                for photo in (boxes.of("a.jpg"), boxes.of("1.jpg")):
                    pa.array([label for label, _ in photo.boxes] if photo else [], pa.string())  # as features have them
                largest_areas(boxes, [CaptionedImage("a.jpg", []), CaptionedImage("1.jpg", [])], lambda _: (9, 9))
        else:
            for split in ("test", None):
                with suppress(QpertError):
                    assert read_captions(path, split)

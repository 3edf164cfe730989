"""Reading captions in any supported format: `read_captions(path)`.

Each format has a file of its own (`karpathy.py`, `lavis.py`, `coco.py`, `caption_table.py`) that feeds a
`CaptionCollector`.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.datasets.captioned_image import CaptionedImage
from pipeline.datasets.captions.caption_table import TABLE_SUFFIXES, collect_table
from pipeline.datasets.captions.coco import collect_coco
from pipeline.datasets.captions.collector import CaptionCollector
from pipeline.datasets.captions.karpathy import collect_karpathy
from pipeline.datasets.captions.lavis import collect_lavis
from pipeline.datasets.coco import is_coco
from pipeline.datasets.json_file import read_json
from pipeline.errors import QpertError

FORMATS = (
    'Karpathy {"images": [{"filename", "split", "sentences": [{"raw"}]}]}, '
    'LAVIS [{"image", "caption"}], '
    'COCO {"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}, '
    "or a table .csv, .tsv, .jsonl or .parquet with columns such as image and caption"
)


def read_captions(
    path: str | Path,
    split: str | None = "test",
    *,
    image_column: str | None = None,
    caption_column: str | None = None,
) -> list[CaptionedImage]:
    """Read the captioned images of one split, in the order in which the file first names them.

    An image may have any number of captions. Oddities that do not prevent use cause one counted warning per kind:
    blank captions (left out), captions that an image has twice (kept), images without captions (kept as distractors),
    captions of images that the file does not list (left out).

    Args:
        path: a JSON file in one of three formats, recognised by its content (see `FORMATS`), or a table, recognised by
            its suffix.
        split: which images to take from a file with several splits (Karpathy's format; a table with a column `split`);
            None takes all. Any other file is a split by itself, such as LAVIS's `flickr30k_test.json` or COCO's
            `captions_val2014.json`, and is read whole whatever `split` is.
        image_column: the table's column of file names, if its name is unusual.
        caption_column: the table's column of captions (one or a list per row), if its name is unusual.

    Raises:
        QpertError: the file is missing or in no supported format, an entry lacks a field or has one of the wrong type,
            two images have the same name, or the split does not exist; the message names file and entry.
    """
    path = Path(path).expanduser()
    collector = CaptionCollector(path)
    if path.suffix.lower() in TABLE_SUFFIXES:
        collect_table(collector, split, image_column, caption_column)
        return collector.images()
    if image_column or caption_column:
        raise QpertError(f"columns are for tables ({', '.join(TABLE_SUFFIXES)}), not for {path}")
    if path.is_file() and path.suffix.lower() != ".json" and _first_character(path) not in (b"{", b"["):
        raise _unknown_format(path)
    data = read_json(path)
    if isinstance(data, list):
        collect_lavis(data, collector)
    elif is_coco(data):
        collect_coco(data, collector)
    elif isinstance(data, dict) and "images" in data:
        collect_karpathy(data, collector, split)
    else:
        raise _unknown_format(path)
    return collector.images()


def _unknown_format(path: Path) -> QpertError:
    return QpertError(f"{path} is in none of the supported caption formats: {FORMATS}")


def _first_character(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(1024).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]

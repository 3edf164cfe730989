"""Reading captions in any supported format: `read_captions(path)`.

Each format has a file of its own that feeds a `CaptionCollector`; `recognising.py` tells which one it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.datasets.captioned_image import CaptionedImage
from pipeline.datasets.captions.caption_table import MAX_LINE, collect_objects, collect_table, find_columns
from pipeline.datasets.captions.coco import collect_coco, collect_expressions
from pipeline.datasets.captions.collector import CaptionCollector
from pipeline.datasets.captions.folders import collect_folder
from pipeline.datasets.captions.karpathy import collect_karpathy
from pipeline.datasets.captions.lavis import collect_dci, collect_lavis, is_dci
from pipeline.datasets.captions.recognising import TABLE_SUFFIXES, form_of
from pipeline.datasets.captions.token_file import collect_tokens
from pipeline.datasets.coco import has_expressions, is_coco
from pipeline.datasets.json_file import read_json
from pipeline.errors import QpertError

FORMATS = (
    'Karpathy {"images": [{"filename", "split", "sentences"}]}, LAVIS [{"image", "caption"}], '
    'COCO {"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}, '
    "a table .csv, .tsv, .jsonl or .parquet with columns such as image and caption, "
    "lines as in results.token, or a folder of Urban-1k, DCI or SORCE-1K"
)


def read_captions(
    path: str | Path,
    split: str | None = "test",
    *,
    image_column: str | None = None,
    caption_column: str | None = None,
    strict: bool = False,
) -> list[CaptionedImage]:
    """Read the captioned images of one split, in the order in which the file first names them.

    An image may have any number of captions. Entries that cannot be read are left out and cause one warning, which
    counts them and names the first. Oddities that do not prevent use cause one counted warning per kind: blank captions
    (left out), captions that an image has twice (kept), images without captions (kept as distractors), captions of
    images that the file does not list (left out).

    Args:
        path: a file or folder in a format that is recognised by its content, see `FORMATS`.
        split: which images to take from a file with several splits (Karpathy's format; a table with a column `split`;
            DCI); None takes all. Of a folder of SORCE-1K, one of its levels makes the others distractors. Any other
            file is a split by itself, such as LAVIS's `flickr30k_test.json` or COCO's `captions_val2014.json`, and is
            read whole whatever `split` is.
        image_column: the table's column of file names, if its name is unusual.
        caption_column: the table's column of captions (one or a list per row), if its name is unusual.
        strict: a bad entry is an error, and so are blank captions, captions of images that the file does not list, and
            a content that does not fit the file's suffix or is not UTF-8.

    Raises:
        QpertError: the file is missing or in no supported format, most of its entries cannot be read, or the split does
            not exist; if `strict`, also because of a single bad entry. The message names file and entry.
    """
    path = Path(path).expanduser()
    collector = CaptionCollector(path, strict=strict)
    form = form_of(path, image_column, caption_column, strict=strict)
    if (image_column or caption_column) and form not in ("delimited", "lines", "parquet"):
        raise QpertError(f"columns are for tables ({', '.join(TABLE_SUFFIXES)}), not for {path}")
    if form == "folder":
        collect_folder(collector, split)
    elif form == "tokens":
        collect_tokens(collector, MAX_LINE)
    elif form == "json":
        _collect_json(read_json(path, strict=strict), collector, split)
    elif form in ("delimited", "lines", "parquet"):
        collect_table(collector, form, split, image_column, caption_column)
    else:
        raise _unknown_format(path)
    return collector.images()


def _collect_json(data: Any, into: CaptionCollector, split: str | None) -> None:
    if isinstance(data, list):
        columns = find_columns(data)
        if is_dci(data):
            collect_dci(data, into)
        elif columns is None or columns == ("image", "caption"):
            collect_lavis(data, into)
        else:
            collect_objects(data, columns, into, split)
    elif has_expressions(data):
        collect_expressions(data, into)
    elif is_coco(data):
        collect_coco(data, into)
    elif isinstance(data, dict) and "images" in data:
        collect_karpathy(data, into, split)
    else:
        raise _unknown_format(into.path)


def _unknown_format(path: Path) -> QpertError:
    return QpertError(f"{path} is in none of the supported caption formats: {FORMATS}")

"""The original captions of Flickr30K and Flickr8K: `results_20130124.token`, `results.token`, `Flickr8k.token.txt`.

A line is `name.jpg#0`, a tab, and the caption; the number after `#` tells the captions of a photo apart.
"""

from __future__ import annotations

import re

from pipeline.datasets.captions.collector import CaptionCollector
from pipeline.datasets.captions.delimited import read_lines
from pipeline.datasets.text_file import open_text
from pipeline.errors import QpertError

_LINE = re.compile(r"(?P<image>[^\t]+)#[0-9]+\t(?P<caption>.*)", re.DOTALL)


def is_token_line(line: str) -> bool:
    """Whether a line is one of such a file."""
    return _LINE.match(line) is not None


def collect_tokens(into: CaptionCollector, max_line: int) -> None:
    """Collect all images; the lines of an image need not follow each other.

    Raises:
        QpertError: the file cannot be read, or a line is longer than `max_line`; or in strict reading, a line is bad.
    """
    try:
        with open_text(into.path, strict=into.bad.strict) as file:
            for number, line in enumerate(read_lines(file, into.path, max_line), 1):
                if line.isspace():
                    continue
                with into.bad:
                    parts = _LINE.match(line)
                    if parts is None:
                        raise QpertError(
                            f"{into.path}: line {number} is not an image with #number, a tab and a caption"
                        )
                    image_id = into.add_image(parts["image"].strip(), f"line {number}", merge=True)
                    into.add_caption(image_id, parts["caption"], f"line {number}")
    except UnicodeDecodeError as error:
        raise QpertError(f"cannot read {into.path}: {error}") from error

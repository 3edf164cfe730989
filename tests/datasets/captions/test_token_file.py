"""The original captions of Flickr30K and Flickr8K."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.datasets.captioned_image import CaptionedImage
from pipeline.datasets.captions.reading import read_captions
from pipeline.datasets.captions.token_file import is_token_line
from pipeline.errors import QpertError

LINES = "1.jpg#0\tA dog , #1 of two .\n1.jpg#1\tTwo\tdogs .\n2.jpg#0\tA \u201cman\u201d .\n1.jpg#2\tOne more .\n"
IMAGES = [
    CaptionedImage("1.jpg", ["A dog , #1 of two .", "Two\tdogs .", "One more ."]),
    CaptionedImage("2.jpg", ["A \u201cman\u201d ."]),
]


@pytest.mark.parametrize("name", ["results.token", "results_20130124.token", "Flickr8k.token.txt", "x"])
def test_names_and_captions(write: Callable[..., Path], name: str) -> None:
    assert read_captions(write(LINES, name), strict=True) == IMAGES
    assert read_captions(write(LINES.replace("\n", "\r\n"), name)) == IMAGES
    assert read_captions(write(gzip.compress(LINES.encode()), name + ".gz")) == IMAGES


def test_bad_lines_are_left_out(write: Callable[..., Path]) -> None:
    path = write(LINES.encode() + b"no number\tx\n3.jpg#0\tcaf\xe9\n4.jpg#0\t \n\n5.jpg#0 no tab\n", "results.token")
    with pytest.warns(UserWarning, match="cannot be read and are left out") as caught:
        images = read_captions(path)
    assert images == [*IMAGES, CaptionedImage("3.jpg", []), CaptionedImage("4.jpg", [])]
    text = " | ".join(str(warning.message) for warning in caught)
    assert "3 entries cannot be read and are left out: line 5 is not an image with #number, a tab and a caption" in text
    assert "1 blank captions are left out; the first: line 7" in text
    for bad, message in (("x\n", "line 5 is not"), ("4.jpg#0\t \n", "line 5 is blank")):
        with pytest.raises(QpertError, match=message):
            read_captions(write(LINES + bad, "results.token"), strict=True)


@given(st.text(st.characters(exclude_characters="\t\r\n"), min_size=1), st.integers(0, 99), st.text())
def test_every_such_line_is_one(name: str, number: int, caption: str) -> None:
    assert is_token_line(f"{name}#{number}\t{caption}\n")
    assert not is_token_line(name + "\n")

"""What all caption formats share: how they are recognised, and warnings about odd captions."""

from __future__ import annotations

import time
import warnings

import pytest

from pipeline.datasets.captioned_image import CaptionedImage
from pipeline.datasets.captions.collector import MAX_CAPTION
from pipeline.datasets.captions.reading import read_captions
from pipeline.errors import QpertError

KARPATHY = {"images": [{"filename": "a.jpg", "split": "test", "sentences": [{"raw": "one"}, {"raw": "two"}]}]}
LAVIS = [{"image": "photos/a.jpg", "caption": ["one", "two"]}]
COCO = {
    "images": [{"id": 1, "file_name": "a.jpg"}],
    "annotations": [{"image_id": 1, "caption": "one"}, {"image_id": 1, "caption": "two"}],
}
CSV = "image,caption\na.jpg,one\na.jpg,two\n"
LINES = '{"image": "a.jpg", "caption": ["one", "two"]}\n'


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (KARPATHY, "x.json"),
        (LAVIS, "x.json"),
        (COCO, "x.json"),
        (COCO, "x.data"),
        (COCO, "x"),
        (CSV, "x.csv"),
        (CSV.replace(",", "\t"), "x.TSV"),
        (LINES, "x.jsonl"),
        (LINES, "x.ndjson"),
    ],
)
def test_the_format_is_recognised_by_content_or_suffix(write, content, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_captions(write(content, name)) == [CaptionedImage("a.jpg", ["one", "two"])]


def test_a_byte_order_mark_does_not_matter(write):
    import json

    for content, name in ((json.dumps(LAVIS), "x.json"), (json.dumps(LAVIS), "x"), (CSV, "x.csv"), (LINES, "x.jsonl")):
        assert read_captions(write(content.encode("utf-8-sig"), name))[0].captions == ["one", "two"]


def test_repeated_captions_are_kept_and_counted_per_image(write):
    same = [{"image": "a.jpg", "caption": ["x", "y"]}, {"image": "b.jpg", "caption": ["x", "x", "x"]}]
    with pytest.warns(UserWarning, match=r"2 captions repeat another of their image and are kept; the first: b\.jpg"):
        images = read_captions(write(same))
    assert images[1].captions == ["x", "x", "x"]


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (
            "image,words\na.jpg,b\n",
            "captions.txt",
            r"captions\.txt is in none of the supported caption formats: Karpathy",
        ),
        ("7", "x.json", "none of the supported caption formats"),
        ({"391895": {"a": {"detections": {}}}}, "x.json", "none of the supported caption formats"),
        ({"images": [], "annotations": []}, "x.json", "no images"),
        (LINES * 2, "x.json", r"Extra data.*must be named \.jsonl"),
        (b"\xff\xfe\x00", "x.json", "not UTF-8"),
        ('[{"image": "a.jpg", "caption": "\\ud800"}]', "x.json", r"\[0\]\.caption"),
        ("[" + "1" * 5000 + "]", "x.json", "Invalid JSON"),
    ],
)
def test_unsupported_formats_are_refused(write, content, name, message):
    with pytest.raises(QpertError, match=message) as caught:
        read_captions(write(content, name), strict=True)
    assert name in str(caught.value)


def test_folders_and_column_options_that_do_not_apply_are_refused(tmp_path, write):
    with pytest.raises(QpertError, match="not a file"):
        read_captions(tmp_path)
    with pytest.raises(QpertError, match="columns are for tables"):
        read_captions(write(LAVIS), caption_column="caption")


def test_ten_megabytes_on_one_line(write):
    """A valid file works with any line breaks; an invalid one is refused quickly."""
    many = [{"image": f"{i:06}.jpg", "caption": ["a caption of usual length, in all ways"] * 5} for i in range(45_000)]
    path = write(many)
    assert path.stat().st_size > 10_000_000
    started = time.process_time()
    with pytest.warns(UserWarning, match="180000 captions repeat"):
        assert len(read_captions(path)) == 45_000
    long = "x" * 10_000_000
    for content, name in (
        ([{"image": "a.jpg", "caption": long}], "x.json"),
        ([{"image": long, "caption": "a"}], "x.json"),
        ({"images": KARPATHY["images"], "annotations": long}, "x.json"),
        (long, "x.json"),
        (long, "x"),
        ("[" * 10_000_000, "x.json"),
        ('{"image": "a.jpg", "caption": "' + long + '"}', "x.jsonl"),
        (long, "x.jsonl"),
        ("image,caption\na.jpg," + long, "x.csv"),
        ('image,caption\na.jpg,"' + long, "x.csv"),
        ("image,caption\na.jpg" + ",x" * 5_000_000, "x.csv"),
        (long, "x.csv"),
    ):
        with pytest.raises(QpertError, match=r"x(\.\w+)?\b") as caught:
            read_captions(write(content, name))
        assert len(str(caught.value)) < 1000
    assert time.process_time() - started < 30


def test_long_captions_have_a_limit(write):
    assert read_captions(write([{"image": "a.jpg", "caption": "x" * MAX_CAPTION}]))[0].captions
    with pytest.raises(QpertError, match=rf"\[0\]\.caption has {MAX_CAPTION + 1} characters"):
        read_captions(write([{"image": "a.jpg", "caption": "x" * (MAX_CAPTION + 1)}]))

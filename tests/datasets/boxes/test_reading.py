"""Boxes in any format: how the format is recognised, and what is refused."""

from __future__ import annotations

import gzip
import json
import pickle
import time

import pytest

from pipeline.datasets.boxes.photo_boxes import PhotoBoxes
from pipeline.datasets.boxes.reading import read_boxes
from pipeline.errors import QpertError
from tests.datasets.coco_files import instance, instances
from tests.payloads import Touch


def test_a_folder_is_read_photo_by_photo(folder):
    boxes = read_boxes(folder)
    assert boxes.of("x/a.png") == PhotoBoxes((100, 80), (("", (0, 0, 100, 80)), ("", (4, 4, 9, 9))), 0)
    assert boxes.of("b.jpg") == PhotoBoxes((100, 80), (("", (0, 0, 10, 8)),), 2)
    assert boxes.of("d.jpg") is None
    with pytest.raises(QpertError, match=r"broken\.xml: not XML"):
        boxes.of("broken.jpg")


def test_all_photos_are_iterated_in_the_order_of_their_names(folder, write):
    boxes = read_boxes(folder)  # broken.xml is left out
    assert list(boxes.all()) == [(name, boxes.of(name)) for name in ("a", "b", "c")]
    images = [{"id": n, "file_name": f"{name}.jpg"} for n, name in enumerate(("z", "x/b", "c"))]
    boxes = read_boxes(write(instances(instance([1, 2, 3, 4], image_id=0), images=images)))
    dog = PhotoBoxes(None, (("dog", (1, 2, 4, 6)),), 0)
    assert list(boxes.all()) == [
        ("c.jpg", PhotoBoxes(None, (), 0)),
        ("x/b.jpg", PhotoBoxes(None, (), 0)),
        ("z.jpg", dog),
    ]
    boxes = read_boxes(write({"12": {"x": {"detections": {"dog": [[0, [1, 2, 4, 6]]]}}}, "3": {}}))
    assert list(boxes.all()) == [("12", dog), ("3", PhotoBoxes(None, (), 0))]


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ({"images": []}, "x.json", "none of the supported box formats: a Flickr30K Entities folder"),
        ([], "x.json", "none of the supported box formats"),
        ({}, "x.json", "none of the supported box formats"),
        ("<annotation/>", "x.xml", "Invalid JSON"),
        ("", "x.json", "Invalid JSON"),
        ('{"1": ' + "[" * 10_000_000, "x.json", "Invalid JSON"),
        ('{"1": "' + "x" * 10_000_000 + '"}', "x.json", "should be an object"),
        ('{"1": {"' + "x" * 10_000_000 + '": 7}}', "x.json", "Field required"),
    ],
)
def test_unsupported_formats_are_refused_quickly(write, content, name, message):
    path = write(content, name)
    started = time.process_time()
    with pytest.raises(QpertError, match=message) as caught:
        read_boxes(path)
    assert name in str(caught.value)
    assert len(str(caught.value)) < 500
    assert time.process_time() - started < 10


def test_missing_files_are_named(tmp_path):
    with pytest.raises(QpertError, match=r"cannot read .*nowhere\.json"):
        read_boxes(tmp_path / "nowhere.json")
    with pytest.raises(QpertError, match=r"no annotations in .*nowhere: expected"):
        read_boxes(tmp_path / "nowhere")


def test_a_folder_is_read_whole_in_strict_reading(folder):
    with pytest.raises(QpertError, match=r"the photo b has 2 boxes that are not finite, inverted"):
        read_boxes(folder, strict=True)
    (folder / "Annotations" / "b.xml").write_text("<annotation/>")
    with pytest.raises(QpertError, match=r"broken\.xml: not XML"):
        read_boxes(folder, strict=True)
    for name in ("broken", "c"):
        (folder / "Annotations" / f"{name}.xml").unlink()
    assert read_boxes(folder, strict=True).of("a.jpg") is not None


@pytest.mark.parametrize("name", ["sentences.pkl", "anno.p", "x.pickle"])
def test_pickles_are_never_opened(write, tmp_path, name):
    ran = tmp_path / "ran"
    with pytest.raises(
        QpertError, match=r"is a pickle, which may run programs and is never opened; D3 comes as d3_json"
    ):
        read_boxes(write(pickle.dumps(Touch(str(ran))), name))
    assert not ran.exists()


def test_compressed_annotations(write):
    content = json.dumps(instances(instance([1, 2, 3, 4])))
    for data, name in ((gzip.compress(content.encode()), "x.json.gz"), (content.encode("utf-16"), "y.json")):
        assert read_boxes(write(data, name)).of("b.jpg").boxes == (("dog", (1, 2, 4, 6)),)

"""Flickr30K Entities: coordinates, phrases, and malformed files."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path

import pytest

from pipeline.datasets.boxes.flickr_entities import (
    MAX_FILE_BYTES,
    Phrase,
    parse_sentence,
    read_entities,
    read_entity_photo,
)
from pipeline.errors import QpertError

REAL = Path(__file__).parents[4] / "shared" / "photos" / "flickr30k_entities"


def box(xmin: object, ymin: object, xmax: object, ymax: object) -> str:
    return f"<bndbox><xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax></bndbox>"


def thing(*parts: str, names: tuple[str, ...] = ("1",)) -> str:
    return "<object>" + "".join(f"<name>{name}</name>" for name in names) + "".join(parts) + "</object>"


def write(root: Path, *things: str, sentences: str | None = None, size: tuple[int, int] | None = (100, 80)) -> Path:
    (root / "Annotations").mkdir(exist_ok=True)
    (root / "Sentences").mkdir(exist_ok=True)
    head = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>" if size else ""
    (root / "Annotations" / "1.xml").write_text(f"<annotation>{head}{''.join(things)}</annotation>")
    if sentences is not None:
        (root / "Sentences" / "1.txt").write_text(sentences, encoding="utf-8")
    return root


def test_one_based_inclusive_becomes_zero_based_half_open(tmp_path: Path) -> None:
    photo = read_entities(write(tmp_path, thing(box(1, 1, 100, 80)), thing(box(11, 21, 11, 21))))["1"]
    assert photo.size == (100, 80)
    assert [b for _, b in photo.boxes] == [(0, 0, 100, 80), (10, 20, 11, 21)]
    assert photo.skipped == 0


def test_zero_based_boxes_at_the_border_survive(tmp_path: Path) -> None:
    """COCO boxes written in this format are 0-based: an xmin of 0 must not wrap around or vanish."""
    (labelled,) = read_entities(write(tmp_path, thing(box(0, 0, 100, 80))))["1"].boxes
    assert labelled[1] == (0, 0, 100, 80)


def test_objects_with_several_names_several_boxes_or_none(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        thing(box(1, 1, 10, 10), box(21, 1, 30, 10), names=("5", "6")),
        thing("<scene>1</scene><nobndbox>1</nobndbox>", names=("7",)),
        thing("<scene>0</scene><nobndbox>1</nobndbox>", names=("8",)),
        thing(box(1, 1, 10, 10), names=("9",)),
        sentences="[/EN#6/people Two men] and [/EN#9/people one man] in [/EN#7/scene a field] .\n",
    )
    photo = read_entities(root)["1"]
    assert photo.boxes == (("Two men", (0, 0, 10, 10)), ("Two men", (20, 0, 30, 10)))
    assert photo.captions == ("Two men and one man in a field .",)


def test_boxes_are_clipped_or_skipped_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    wrong = [(50, 10, 20, 30), (10, 50, 30, 20), ("nan", 1, 5, 5), ("inf", 1, 5, 5), ("x", 1, 5, 5), ("", 1, 5, 5)]
    root = write(
        tmp_path,
        thing(box(-20, 71, 140, 300)),
        *(thing(box(*corners)) for corners in wrong),
        thing(box(200, 1, 220, 9)),
        thing("<bndbox><xmin>3</xmin></bndbox>"),
    )
    with caplog.at_level(logging.WARNING):
        photo = read_entities(root)["1"]
    assert [b for _, b in photo.boxes] == [(0, 70, 100, 80)]
    assert photo.skipped == len(wrong) + 2
    assert "8 boxes" in caplog.text


def test_without_size_or_sentences(tmp_path: Path) -> None:
    photo = read_entities(write(tmp_path, thing(box(1, 1, 1000, 2000)), size=None))["1"]
    assert photo.size is None
    assert photo.boxes == (("", (0, 0, 1000, 2000)),)
    assert photo.captions == ()


def test_sentences() -> None:
    line = "[/EN#1/people/bodyparts A man 's hand] on [/EN#0/notvisual all] of [/EN#23/other a café table] ."
    assert parse_sentence(line) == (
        "A man 's hand on all of a café table .",
        [
            Phrase("1", ("people", "bodyparts"), "A man 's hand"),
            Phrase("0", ("notvisual",), "all"),
            Phrase("23", ("other",), "a café table"),
        ],
    )
    assert parse_sentence("Nothing [ marked ] here .") == ("Nothing [ marked ] here .", [])


BOMB = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;&x;">]><annotation>&y;</annotation>'
OUTSIDE = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>'


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (BOMB, "declares entities"),
        (OUTSIDE, "declares entities"),
        ('<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a.dtd"><annotation/>', "declares entities"),
        ("<annotation><object>", "not XML"),
        ("", "not XML"),
        ("\x00\x01\x02", "not XML"),
        ('<?xml version="1.0" encoding="foo"?><annotation/>', "not XML: unknown encoding: foo"),
        ('<?xml version="1.0" encoding="zlib"?><annotation/>', "not XML: 'zlib' is not a text encoding"),
        ('<?xml version="1.0" encoding="idna"?><annotation/>', "not XML"),
        ("<a>" + " " * MAX_FILE_BYTES + "</a>", "larger than"),
    ],
)
def test_harmful_and_damaged_files_are_named(tmp_path: Path, text: str, why: str) -> None:
    write(tmp_path)
    (tmp_path / "Annotations" / "2.xml").write_text(text)
    with pytest.raises(QpertError, match=rf"2\.xml: .*{why}"):
        read_entities(tmp_path)
    with pytest.raises(QpertError, match=rf"2\.xml: .*{why}"):
        read_entity_photo(tmp_path, "2")


@pytest.mark.parametrize(
    ("inside", "end"),
    [("<object><name>1</name><bndbox>", "</bndbox></object>"), ("<object>", "</object>"), ("<a>", "</a>")],
)
def test_nested_objects_take_no_time(tmp_path: Path, inside: str, end: str) -> None:
    depth = (MAX_FILE_BYTES - 1000) // len(inside + end)
    write(tmp_path, inside * depth + end * depth)
    started = time.process_time()
    assert read_entities(tmp_path)["1"].boxes == ()
    assert time.process_time() - started < 10


@pytest.mark.parametrize(
    "part", ["[/EN#1 " + " " * 100, "[/EN#1/[", "[/EN#1/x", "[/EN#1", "1", "/a", " ", "[", "[/EN#1 x"]
)
def test_a_line_of_megabytes_is_parsed_quickly(part: str) -> None:
    line = "[/EN#1" + part * (3_000_000 // len(part))
    started = time.process_time()
    caption, phrases = parse_sentence(line)
    assert (caption, phrases) == (line.strip(), [])
    assert time.process_time() - started < 10


def test_a_sentence_file_of_megabytes_is_refused(tmp_path: Path) -> None:
    write(tmp_path, thing(box(1, 1, 2, 2)), sentences="x" * 10_000_000)
    with pytest.raises(QpertError, match=r"1\.txt: larger than"):
        read_entities(tmp_path)


def test_a_folder_without_annotations_is_refused(tmp_path: Path) -> None:
    with pytest.raises(QpertError, match="expected Annotations"):
        read_entities(tmp_path)
    assert read_entity_photo(write(tmp_path), "unknown") is None
    assert read_entity_photo(tmp_path, "x" * 5000) is None


def test_annotations_of_scenes_match_what_was_drawn(tmp_path: Path) -> None:
    from pipeline.datasets.scenes import distinct_scenes, write_scenes

    write_scenes(tmp_path, 12, seed=3)
    photos = read_entities(tmp_path)
    for scene, (_, photo) in zip(distinct_scenes(12, 3), sorted(photos.items()), strict=True):
        assert [b for _, b in photo.boxes] == [thing.box for thing in scene.objects]
        for thing_, (label, _) in zip(scene.objects, photo.boxes, strict=True):
            assert label == "" or thing_.shape in label


@pytest.mark.skipif(not REAL.is_dir(), reason="the shared photos are not here")
def test_real_annotations() -> None:
    photos = read_entities(REAL)
    captions = {
        image["filename"].rsplit(".", 1)[0]: [sentence["raw"] for sentence in image["sentences"]]
        for image in json.loads((REAL.parent / "dataset_flickr30k.json").read_text())["images"]
    }
    assert len(photos) == 26
    for stem, photo in photos.items():
        assert photo.skipped == 0
        assert photo.size is not None
        assert all(0 <= b[0] < b[2] <= photo.size[0] and 0 <= b[1] < b[3] <= photo.size[1] for _, b in photo.boxes)
        assert all(label for label, _ in photo.boxes)
        assert len(photo.captions) == len(captions[stem]) == 5

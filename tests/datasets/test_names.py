from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from jobs.evaluate import annotated_areas
from pipeline.datasets.boxes.reading import read_boxes
from pipeline.datasets.captioned_image import CaptionedImage
from pipeline.datasets.captions.image_files import find_images
from pipeline.datasets.names import Names, alike_file, join_names
from pipeline.detectors.annotated import AnnotatedBoxes
from pipeline.errors import QpertError
from pipeline.retrieval.evaluation import evaluate

NFC, NFD = (unicodedata.normalize(form, "caf\u00e9 \u1ec7 \ud55c.jpg") for form in ("NFC", "NFD"))
FORMS = [(NFC, NFD), (NFD, NFC)]
XML = """<annotation><size><width>200</width><height>100</height></size><object><name>7</name>
<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>100</xmax><ymax>100</ymax></bndbox></object></annotation>"""


def test_the_two_forms_differ() -> None:
    assert NFC != NFD


@pytest.mark.parametrize(("here", "there"), FORMS)
def test_a_name_finds_itself_in_another_form(here: str, there: str) -> None:
    assert Names({here, "a.jpg"}).find(there) == here
    assert Names({here, there}).find(there) == there
    mixed = "caf\u00e9 " + unicodedata.normalize("NFD", "\u1ec7 \ud55c.jpg")
    assert Names({mixed}).find(here) == mixed
    assert Names({here, there}).find(mixed) is None  # either could be meant
    assert Names({here}).find("cafe.jpg") is None
    assert Names({"a.jpg"}).find("a.jpg") == "a.jpg"


@pytest.mark.parametrize(("here", "there"), FORMS)
def test_ids_and_names_are_joined(here: str, there: str) -> None:
    assert join_names([f"x/{there}"], {here}) == ({f"x/{there}": here}, [])
    assert join_names([there], {here}) == ({there: here}, [])
    both = {f"x/{there}": there, f"x/{here}": here}
    assert join_names(list(both), {here, there}) == (both, [])
    assert join_names(list(both), {here}) == ({f"x/{here}": here}, [])  # the very name goes before the like
    assert join_names([f"x/{there}", f"y/{there}"], {here})[1] == [(here, f"x/{there}", f"y/{there}")]
    assert join_names([there, f"y/{here}"], {here})[0] == {f"y/{here}": here}


@pytest.mark.parametrize(("here", "there"), FORMS)
def test_captions_find_indexed_photos(here: str, there: str, write_features) -> None:  # type: ignore[no-untyped-def]
    vectors = np.eye(8, dtype=np.float32)[:2, None]
    features = write_features(vectors, [f"x/{there}", "b.jpg"])
    captions = [CaptionedImage(here, ["one"]), CaptionedImage("b.jpg", ["two"])]
    found = evaluate(features, captions, lambda texts: vectors[: len(texts), 0], areas={here: 0.05, "b.jpg": 0.15})
    assert found.missing == ()
    assert found.ignored == 0
    assert found.report.t2i.overall[1] == 1
    assert [part.queries for part in found.report.t2i.bins[:2]] == [1, 1]


@pytest.mark.parametrize(("here", "there"), FORMS)
def test_captions_find_files(here: str, there: str, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / there).touch()
    found = find_images([CaptionedImage(here, [])], tmp_path)
    assert found.found == {here: str(tmp_path / "x" / there)}
    (tmp_path / here).touch()
    assert find_images([CaptionedImage(here, [])], tmp_path).found == {here: str(tmp_path / here)}
    (tmp_path / "y").mkdir()
    (tmp_path / "y" / here).touch()
    with pytest.raises(QpertError, match="exists twice"):
        find_images([CaptionedImage(here, [])], tmp_path)


@pytest.mark.parametrize(("here", "there"), FORMS)
def test_photos_find_their_boxes_in_a_folder(here: str, there: str, tmp_path: Path) -> None:
    for folder, name, text in (("Annotations", there, XML), ("Sentences", here, "[/EN#7/scene A field] .\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).with_suffix(".xml" if folder == "Annotations" else ".txt").write_text(text)
    objects = AnnotatedBoxes(tmp_path).objects_for(f"x/{here}", (200, 100))
    assert objects.labels == ("A field",)
    assert alike_file(tmp_path / here) == tmp_path / here  # neither is there


@pytest.mark.parametrize(("here", "there"), FORMS)
def test_photos_find_their_boxes_in_a_file(here: str, there: str, tmp_path: Path) -> None:
    content = {
        "images": [{"id": 1, "file_name": there, "width": 200, "height": 100}],
        "categories": [{"id": 1, "name": "dog"}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 100, 50]}],
    }
    (tmp_path / "instances.json").write_text(json.dumps(content))
    photo = read_boxes(tmp_path / "instances.json").of(here)
    assert photo is not None
    assert photo.boxes == (("dog", (0.0, 0.0, 100.0, 50.0)),)


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_the_features_say_how_large_a_photo_is(forms: tuple[str, str], tmp_path: Path, write_features) -> None:  # type: ignore[no-untyped-def]
    """Boxes of COCO Entities, which do not say it themselves."""
    here, there = (unicodedata.normalize(form, "caf\u00e9 12.jpg") for form in forms)
    (tmp_path / "coco.json").write_text(json.dumps({"12": {"a dog": {"detections": {"dog": [[0, [0, 0, 32, 24]]]}}}}))
    features = write_features(np.ones((1, 1, 4)), [f"x/{there}"])  # of 64 x 48 pixels
    areas = annotated_areas(str(tmp_path / "coco.json"), [CaptionedImage(here, ["a dog"])], features)
    assert areas == {here: 0.25}

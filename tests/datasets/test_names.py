from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from pipeline.datasets.boxes.reading import read_boxes
from pipeline.datasets.captioned_image import CaptionedImage
from pipeline.datasets.captions.image_files import find_images
from pipeline.datasets.names import Names, file_in_any_form, join_names
from pipeline.detectors.annotated import AnnotatedBoxes
from pipeline.errors import QpertError
from pipeline.experiments.material import annotated_areas
from pipeline.retrieval.evaluation import evaluate

NFC, NFD = (unicodedata.normalize(form, "caf\u00e9 \u1ec7 \ud55c.jpg") for form in ("NFC", "NFD"))
FORMS = [(NFC, NFD), (NFD, NFC)]
XML = """<annotation><size><width>200</width><height>100</height></size><object><name>7</name>
<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>100</xmax><ymax>100</ymax></bndbox></object></annotation>"""


def test_the_two_normal_forms_differ() -> None:
    assert NFC != NFD


@pytest.mark.parametrize(("name", "other"), FORMS)
def test_a_name_is_found_in_another_normal_form(name: str, other: str) -> None:
    assert Names({name, "a.jpg"}).find(other) == name
    assert Names({name, other}).find(other) == other
    mixed = "caf\u00e9 " + unicodedata.normalize("NFD", "\u1ec7 \ud55c.jpg")
    assert Names({mixed}).find(name) == mixed
    assert Names({name, other}).find(mixed) is None  # either could be meant
    assert Names({name}).find("cafe.jpg") is None
    assert Names({"a.jpg"}).find("a.jpg") == "a.jpg"


@pytest.mark.parametrize(("name", "other"), FORMS)
def test_ids_and_names_are_joined(name: str, other: str) -> None:
    assert join_names([f"x/{other}"], {name}) == ({f"x/{other}": name}, [])
    assert join_names([other], {name}) == ({other: name}, [])
    both = {f"x/{other}": other, f"x/{name}": name}
    assert join_names(list(both), {name, other}) == (both, [])
    assert join_names(list(both), {name}) == ({f"x/{name}": name}, [])  # an identical name takes precedence
    assert join_names([f"x/{other}", f"y/{other}"], {name})[1] == [(name, f"x/{other}", f"y/{other}")]
    assert join_names([other, f"y/{name}"], {name})[0] == {f"y/{name}": name}


@pytest.mark.parametrize(("name", "other"), FORMS)
def test_captions_are_joined_to_indexed_photos(name: str, other: str, write_features) -> None:  # type: ignore[no-untyped-def]
    vectors = np.eye(8, dtype=np.float32)[:2, None]
    features = write_features(vectors, [f"x/{other}", "b.jpg"])
    captions = [CaptionedImage(name, ["one"]), CaptionedImage("b.jpg", ["two"])]
    found = evaluate(features, captions, lambda texts: vectors[: len(texts), 0], areas={name: 0.05, "b.jpg": 0.15})
    assert found.missing == ()
    assert found.ignored == 0
    assert found.report.t2i.overall[1] == 1
    assert [part.queries for part in found.report.t2i.bins[:2]] == [1, 1]


@pytest.mark.parametrize(("name", "other"), FORMS)
def test_captions_are_joined_to_files(name: str, other: str, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / other).touch()
    found = find_images([CaptionedImage(name, [])], tmp_path)
    assert found.found == {name: str(tmp_path / "x" / other)}
    (tmp_path / name).touch()
    assert find_images([CaptionedImage(name, [])], tmp_path).found == {name: str(tmp_path / name)}
    (tmp_path / "y").mkdir()
    (tmp_path / "y" / name).touch()
    with pytest.raises(QpertError, match="exists twice"):
        find_images([CaptionedImage(name, [])], tmp_path)


@pytest.mark.parametrize(("name", "other"), FORMS)
def test_photos_are_joined_to_boxes_in_a_folder(name: str, other: str, tmp_path: Path) -> None:
    for folder, file, text in (("Annotations", other, XML), ("Sentences", name, "[/EN#7/scene A field] .\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).with_suffix(".xml" if folder == "Annotations" else ".txt").write_text(text)
    objects = AnnotatedBoxes(tmp_path).objects_for(f"x/{name}", (200, 100))
    assert objects.labels == ("A field",)
    assert file_in_any_form(tmp_path / name) == tmp_path / name  # neither exists


@pytest.mark.parametrize(("name", "other"), FORMS)
def test_photos_are_joined_to_boxes_in_a_file(name: str, other: str, tmp_path: Path) -> None:
    content = {
        "images": [{"id": 1, "file_name": other, "width": 200, "height": 100}],
        "categories": [{"id": 1, "name": "dog"}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 100, 50]}],
    }
    (tmp_path / "instances.json").write_text(json.dumps(content))
    photo = read_boxes(tmp_path / "instances.json").of(name)
    assert photo is not None
    assert photo.boxes == (("dog", (0.0, 0.0, 100.0, 50.0)),)


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_features_supply_the_size_of_photos(forms: tuple[str, str], tmp_path: Path, write_features) -> None:  # type: ignore[no-untyped-def]
    """COCO Entities do not state it themselves."""
    name, other = (unicodedata.normalize(form, "caf\u00e9 12.jpg") for form in forms)
    (tmp_path / "coco.json").write_text(json.dumps({"12": {"a dog": {"detections": {"dog": [[0, [0, 0, 32, 24]]]}}}}))
    features = write_features(np.ones((1, 1, 4)), [f"x/{other}"])  # of 64 x 48 pixels
    areas = annotated_areas(str(tmp_path / "coco.json"), [CaptionedImage(name, ["a dog"])], features)
    assert areas == {name: 0.25}

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.datasets.boxes.reading import read_boxes
from pipeline.datasets.captioned_image import CaptionedImage
from pipeline.datasets.captions.image_files import find_images
from pipeline.datasets.names import Names, PhotoIndex, file_in_any_form, join_names, plain_name, plain_stem
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


SAME = [
    "COCO_val2014_000000391895.jpg",
    "COCO_train2014_000000391895.JPG",
    "000000391895.jpg",
    "val2017\\000000391895.jpg",
    "000000391895.JPG",
]


@pytest.mark.parametrize("name", SAME)
@pytest.mark.parametrize("other", SAME)
def test_one_photo_of_coco_in_all_ways_of_writing(name: str, other: str) -> None:
    assert Names({name, "000000000001.jpg"}).find(other) == name
    assert join_names([f"x/{other}"], {name}) == ({f"x/{other}": name}, [])


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("a b.jpg", "a%20b.jpg"),
        ("caf\u00e9.jpg", "caf%C3%A9.jpg"),
        ("cafe\u0301.jpg", "caf%C3%A9.JPG"),
        ("a.jpg", "folder%2Fa.jpg"),
        ("a.jpg", "C:\\photos\\a.jpg"),
    ],
)
def test_other_ways_of_writing(name: str, other: str) -> None:
    assert Names({name}).find(other) == name
    assert Names({other}).find(name) == other


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("a.jpg", "A.jpg"),
        ("a.jpg", "a.png"),
        ("COCO_val2014_391895.jpg", "391895.jpg"),
        ("COCO_val2017_000000391895.jpg", "000000391895.jpg"),
        ("my_COCO_val2014_000000391895.jpg", "000000391895.jpg"),
        ("000000391895.jpg", "391895.jpg"),
    ],
)
def test_names_of_different_photos(name: str, other: str) -> None:
    assert Names({name}).find(other) is None
    assert Names({other}).find(name) is None


def test_of_names_that_differ_only_in_writing_each_matches_itself() -> None:
    names = Names({"a.jpg", "a.JPG"})
    assert names.find("a.jpg") == "a.jpg"
    assert names.find("a.JPG") == "a.JPG"
    assert names.find("a.Jpg") is None


def test_wanted_names_with_folders() -> None:
    wanted = {"full_res/1.jpg", "zoom_2x/1.jpg"}
    ids = ["sorce/full_res/1.jpg", "sorce/zoom_2x/1.jpg", "sorce/zoom_3x/1.jpg"]
    assert join_names(ids, wanted) == ({ids[0]: "full_res/1.jpg", ids[1]: "zoom_2x/1.jpg"}, [])
    assert join_names(["full_res/1.JPG"], wanted) == ({"full_res/1.JPG": "full_res/1.jpg"}, [])
    assert join_names(["1.jpg"], wanted) == ({}, [])


def test_photos_are_found_with_or_without_folder_and_suffix() -> None:
    index = PhotoIndex(["x/a.jpg", "y/a.jpg", "b.jpg", "b.png", "COCO_val2014_000000000007.jpg"], plain_stem)
    assert [index.find(name) for name in ("x/a.jpg", "y/a.jpg", "a.jpg", "a", "z/a.jpg")] == [0, 1, None, None, None]
    assert [index.find(name) for name in ("b.jpg", "z/b.png", "b", "b.gif")] == [2, 3, None, None]
    assert [index.find(name) for name in ("000000000007.png", "COCO_val2014_000000000007", "7.jpg")] == [4, 4, None]


@given(st.lists(st.text("aA.%é\\/", min_size=1, max_size=6), max_size=6))
def test_every_name_of_a_set_is_found_as_itself(names: list[str]) -> None:
    known = Names(set(names))
    assert [known.find(name) for name in names] == names
    index = PhotoIndex(list(dict.fromkeys(names)), plain_stem)
    assert [list(dict.fromkeys(names))[index.find(name) or 0] for name in names] == names


@given(st.text("COCO_val2014.jpgJPG0123456789%\\é", max_size=40))
def test_plain_names_stay_as_they_are(name: str) -> None:
    plain = plain_name(name)
    if "%" not in plain and "\\" not in plain and not plain.startswith("COCO_"):
        assert plain_name(plain) == plain

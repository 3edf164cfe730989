"""One real data set in all supported formats, which must give the same captions, boxes and objects."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from pipeline.datasets.boxes.areas import largest_areas
from pipeline.datasets.boxes.reading import read_boxes
from pipeline.datasets.captions.image_files import find_images
from pipeline.datasets.captions.reading import read_captions
from pipeline.detectors.annotated import AnnotatedBoxes

SHARED = Path(__file__).parents[3] / "shared" / "photos"

pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared photos are not here")


def test_all_formats_give_the_same_captions() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        karpathy = read_captions(SHARED / "dataset_flickr30k.json")
        lavis = read_captions(SHARED / "flickr30k_test.json")
        coco = read_captions(SHARED / "coco_style" / "captions.json")
    assert len(karpathy) == 26
    assert all(len(image.captions) == 5 for image in karpathy)
    assert {i.image_id: i.captions for i in karpathy} == {i.image_id: i.captions for i in lavis}
    assert {i.image_id: i.captions for i in karpathy} == {i.image_id: i.captions for i in coco}


def test_all_formats_give_the_same_boxes_and_areas() -> None:
    """Exactly: 1-based inclusive (xmin, xmax) in the XML is x = xmin - 1, width = xmax - xmin + 1 in COCO."""
    captions = read_captions(SHARED / "dataset_flickr30k.json")
    entities = read_boxes(SHARED / "flickr30k_entities")
    coco = read_boxes(SHARED / "coco_style" / "instances.json")
    for image in captions:
        one, other = entities.of(image.image_id), coco.of(image.image_id)
        assert one is not None
        assert other is not None
        assert one.size == other.size
        assert one.skipped == other.skipped == 0
        assert sorted(box for _, box in one.boxes) == sorted(box for _, box in other.boxes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        areas = largest_areas(entities, captions)
        assert largest_areas(coco, captions) == areas
    assert len(areas) == 26


def test_all_formats_give_the_same_objects() -> None:
    from PIL import Image

    captions = read_captions(SHARED / "flickr30k_test.json")
    images = find_images(captions, SHARED)
    assert images.missing == ()
    entities = AnnotatedBoxes(SHARED / "flickr30k_entities")
    coco = AnnotatedBoxes(SHARED / "coco_style" / "instances.json")
    for image_id, path in images.found.items():
        with Image.open(path) as photo:
            size = photo.size
        one, other = entities.objects_for(image_id, size), coco.objects_for(image_id, size)
        assert sorted(one.boxes.tolist()) == sorted(other.boxes.tolist())
        assert len(one) > 0

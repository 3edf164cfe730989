"""Builders of COCO's caption and instance files."""

from __future__ import annotations

IMAGES = [
    {"id": 7, "file_name": "b.jpg", "width": 100, "height": 80},
    {"id": 3, "file_name": "val2014/a.jpg", "width": 50, "height": 50},
]


def captions(*pairs, images=IMAGES):
    annotations = [{"id": n, "image_id": image, "caption": text} for n, (image, text) in enumerate(pairs)]
    return {"info": {}, "images": images, "annotations": annotations}


def instance(bbox, image_id=7, category_id=1, **more):
    outline = [[1, 2, 3, 4]]
    return {"image_id": image_id, "category_id": category_id, "bbox": bbox, "segmentation": outline, "area": 1, **more}


def instances(*annotations, images=IMAGES):
    categories = [{"id": 1, "name": "dog"}, {"id": 1001, "name": "tripod"}]
    return {"images": images, "annotations": list(annotations), "categories": categories}

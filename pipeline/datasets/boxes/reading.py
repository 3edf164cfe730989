"""Opening annotated boxes in any supported format: `read_boxes(path).of(image_id)`."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from pipeline.datasets.boxes.coco import collect_instances
from pipeline.datasets.boxes.coco_entities import collect_detections, image_number, is_coco_entities, pack_detections
from pipeline.datasets.boxes.collector import BoxCollector
from pipeline.datasets.boxes.flickr_entities import EntitiesFolder
from pipeline.datasets.boxes.photo_boxes import Boxes
from pipeline.datasets.coco import is_coco
from pipeline.datasets.json_file import read_json
from pipeline.errors import QpertError

FORMATS = (
    "a Flickr30K Entities folder (Annotations/*.xml and Sentences/*.txt), COCO's instances_*.json, "
    "or the release JSON of COCO Entities"
)


def read_boxes(path: str | Path) -> Boxes:
    """Open annotations. Opening a folder costs nothing: its files are read on demand.

    Args:
        path: a Flickr30K Entities folder, COCO's `instances_*.json` or the release JSON of COCO Entities, recognised by
            their content. COCO Entities does not state the size of the photos: see `PhotoBoxes.within`.

    Raises:
        QpertError: the path is none of these, or an entry lacks a field or has one of the wrong type; the message names
            file and entry.
    """
    path = Path(path).expanduser()
    if not path.is_file() and path.suffix.lower() != ".json":
        return EntitiesFolder(path)
    data = read_json(path, pack_detections)
    if is_coco(data):
        collector = BoxCollector(path, lambda name: PurePosixPath(name).stem)
        collect_instances(data, collector)
    elif is_coco_entities(data):
        collector = BoxCollector(path, image_number)
        collect_detections(data, collector)
    else:
        raise QpertError(f"{path} is in none of the supported box formats: {FORMATS}")
    return collector.boxes()

"""Opening annotated boxes in any supported format: `read_boxes(path).of(image_id)`."""

from __future__ import annotations

from pathlib import Path

from pipeline.datasets.boxes.coco import collect_instances
from pipeline.datasets.boxes.coco_entities import collect_detections, image_number, is_coco_entities, pack_detections
from pipeline.datasets.boxes.collector import BoxCollector, refuse_skipped_boxes
from pipeline.datasets.boxes.dci import collect_masks
from pipeline.datasets.boxes.feature_boxes import read_feature_boxes
from pipeline.datasets.boxes.flickr_entities import EntitiesFolder
from pipeline.datasets.boxes.photo_boxes import Boxes
from pipeline.datasets.coco import is_coco
from pipeline.datasets.dci import dci_files
from pipeline.datasets.json_file import read_json
from pipeline.datasets.photos.own_output import is_feature_set
from pipeline.datasets.text_file import plain_suffix
from pipeline.errors import QpertError

FORMATS = (
    "a Flickr30K Entities folder (Annotations/*.xml and Sentences/*.txt), COCO's instances_*.json (also LVIS, D3 and "
    "REIRCOCO), the release JSON of COCO Entities, a folder of DCI, or a feature set that qpert index wrote"
)


def read_boxes(path: str | Path, *, strict: bool = False) -> Boxes:
    """Open annotations. Opening a folder of Entities costs nothing: its files are read on demand.

    Entries that cannot be read are left out and cause one warning, which counts them and names the first. Boxes that
    are inverted, empty, not finite or outside their photo are counted where they are looked up (`PhotoBoxes.skipped`).

    Args:
        path: a file or folder in a format that is recognised by its content, see `FORMATS`. COCO Entities and DCI do
            not state the size of the photos: see `PhotoBoxes.within`.
        strict: a bad entry or box is an error, found before this returns, and so is a file that is not UTF-8.

    Raises:
        QpertError: the path is none of these, or most of its entries cannot be read; if `strict`, also because of a
            single bad entry or box. The message names file and entry.
    """
    path = Path(path).expanduser()
    if not path.is_file() and plain_suffix(path) != ".json":
        return _open_folder(path, strict=strict)
    if path.suffix.lower() in (".pkl", ".pickle", ".p"):
        raise QpertError(
            f"{path} is a pickle, which may run programs and is never opened; D3 comes as d3_json/*.json as well"
        )
    data = read_json(path, pack_detections, strict=strict)
    if is_coco(data):
        collector = BoxCollector(path, strict=strict)
        collect_instances(data, collector)
    elif is_coco_entities(data):
        collector = BoxCollector(path, image_number, strict=strict)
        collect_detections(data, collector)
    else:
        raise QpertError(f"{path} is in none of the supported box formats: {FORMATS}")
    return collector.boxes()


def _open_folder(path: Path, *, strict: bool) -> Boxes:
    if path.is_dir() and (path / "manifest.json").is_file() and is_feature_set(str(path)):
        boxes = read_feature_boxes(path)
        if strict:
            refuse_skipped_boxes(boxes)
        return boxes
    if path.is_dir() and not (path / "Annotations").is_dir() and (files := dci_files(path)):
        collector = BoxCollector(path, strict=strict)
        collect_masks(files, collector)
        return collector.boxes()
    entities = EntitiesFolder(path)
    if strict:
        entities.check()
    return entities

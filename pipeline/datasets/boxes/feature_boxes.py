"""The objects of an indexed feature set as annotated boxes, so that what was detected once can be used again."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.datasets.boxes.collector import PackedBoxes, possible_size
from pipeline.datasets.names import PhotoIndex, plain_stem
from pipeline.errors import QpertError
from pipeline.features.manifest import Manifest
from pipeline.features.parts import files_of
from pipeline.io.locations import Folder

_COLUMNS = ("image_id", "width", "height", "objects", "error")
_EDGES = ("x0", "y0", "x1", "y1")


def read_feature_boxes(folder: Path) -> PackedBoxes:
    """Read the objects of all photos that count: neither failed nor taken out of use.

    A photo is found by its whole id, or by its file name where no other photo has the same one. Boxes are the stored
    fractions times the photo's size, in float64, so that dividing by the size gives back the same float32.

    Raises:
        QpertError: the feature set is damaged or holds no photos.
    """
    root = Folder.open(str(folder))
    manifest = Manifest.read(root)
    files = files_of(root, manifest)
    files.check_complete()
    if manifest.state == "running":
        warnings.warn(f"{folder} is not finished: photos that it lacks have no boxes", stacklevel=3)
    ids: list[str] = []
    sizes: list[tuple[int, int] | None] = []
    counts: list[np.ndarray] = []
    corners: list[np.ndarray] = []
    names: list[np.ndarray] = []
    labels: dict[str, int] = {}
    for _, table in files.tables(_COLUMNS):
        rows = table.filter(pc.is_null(table["error"])).combine_chunks()
        file_sizes = list(zip(rows["width"].to_pylist(), rows["height"].to_pylist(), strict=True))
        ids += map(str, rows["image_id"].to_pylist())
        sizes += [possible_size(width, height) for width, height in file_sizes]
        lengths = np.asarray(pc.fill_null(pc.list_value_length(rows["objects"]), 0).to_numpy(), np.int64)
        objects = pc.list_flatten(rows["objects"]).combine_chunks()
        scale = np.repeat(
            np.array([[w or 0, h or 0] * 2 for w, h in file_sizes], np.float64).reshape(-1, 4), lengths, 0
        )
        counts.append(lengths)
        corners.append(_fractions(objects) * scale)
        names.append(_numbered(pc.struct_field(objects, "label"), labels))
    if not ids:
        raise QpertError(f"{folder} holds no photos with objects: it has indexed none")
    return PackedBoxes(
        folder,
        tuple(ids),
        PhotoIndex(ids, plain_stem),
        sizes,
        list(labels),
        np.concatenate([[0], np.cumsum(np.concatenate(counts))]),
        np.concatenate(names),
        np.concatenate(corners),
    )


def boxes_digest(boxes: PackedBoxes) -> str:
    """16 hexadecimal digits that tell whether two feature sets have the same objects, in whatever order they lie."""
    digest = hashlib.sha256()
    for name, photo in boxes.all():
        digest.update(f"{name}\0{photo.size}\0{photo.boxes}\n".encode())
    return digest.hexdigest()[:16]


def _fractions(objects: pa.StructArray) -> np.ndarray:
    """float64 [boxes, 4]."""
    edges = [np.asarray(pc.struct_field(objects, edge).to_numpy(zero_copy_only=False), np.float64) for edge in _EDGES]
    return np.stack(edges, axis=1)


def _numbered(column: pa.Array, labels: dict[str, int]) -> np.ndarray:
    """int64 [boxes], numbers of the labels, of which new ones are added to `labels`."""
    coded = pc.dictionary_encode(pc.fill_null(column, ""))
    numbers = np.array([labels.setdefault(label, len(labels)) for label in coded.dictionary.to_pylist()], np.int64)
    return numbers[coded.indices.to_numpy()] if len(numbers) else np.zeros(0, np.int64)

"""An opened shard: its photos, its stored vectors and its inverted lists. Nothing in it is trusted.

An index may come with a feature set that is somebody else's. So sizes, types and shapes are checked against the
manifest before anything is used, Arrow builds no extension types, and its columns are validated when they are looked at
(`PhotoTable.column`).
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import QpertError, first_line
from pipeline.features.feature_set import FeatureSet
from pipeline.features.files import FeatureFiles
from pipeline.vectors.array_file import ArrayFile
from pipeline.vectors.coverage import covered
from pipeline.vectors.index_manifest import ShardNote
from pipeline.vectors.inverted_lists import InvertedLists, open_lists
from pipeline.vectors.layout import LENGTHS, PHOTOS, VECTORS
from pipeline.vectors.parquet_rows import ParquetRows
from pipeline.vectors.photo_codes import PhotoCodes
from pipeline.vectors.photo_table import photo_schema
from pipeline.vectors.quantiser import Quantiser
from pipeline.vectors.query_vectors import Bools, Int64
from pipeline.vectors.stored_vectors import StoredVectors

_EXTENSION = b"ARROW:extension"
_METADATA = 1 << 24


@dataclass(frozen=True, eq=False)
class Shard:
    """The photos of some features files.

    Attributes:
        key: its name.
        note: what the manifest says of it.
        folder: where it is.
        photos: the columns of `photo_schema`, mapped.
        starts: int64 [n + 1], the first vector of each photo, and their number.
        stored: its vectors; None where they were not kept.
    """

    key: str
    note: ShardNote
    folder: str
    photos: pa.Table
    starts: Int64
    stored: StoredVectors | None

    def live(self, files: FeatureFiles, taken: set[str]) -> Bools:
        """Which of its photos count, bool [n].

        Args:
            files: the features files as they are now.
            taken: names of those whose photos other shards have; extended by those that this one has.

        Raises:
            QpertError: the ids, by which rows are removed, are damaged; `taken` is as it was.
        """
        live = np.zeros(self.note.photos, np.bool_)
        there = set(covered(files, self.note)) - taken
        start = 0
        for name, span in self.note.files.items():
            if name in there:
                live[start : start + span.photos] = True
                removed = files.removed.ids(name)
                if removed is not None:
                    ids = self.photos["image_id"].slice(start, span.photos)
                    try:
                        ids.validate(full=True)  # wrong offsets would read foreign memory
                    except pa.ArrowException as error:
                        path = os.path.join(self.folder, PHOTOS)
                        raise QpertError(f"{path} is damaged: {first_line(error)[:200]}") from error
                    live[start : start + span.photos] = ~np.asarray(pc.is_in(ids, value_set=removed))
            start += span.photos
        taken |= there
        return live

    def vectors(self, features: FeatureSet) -> StoredVectors | ParquetRows:
        """Where the vectors of its photos are read from."""
        return self.stored or ParquetRows(features, {name: span.photos for name, span in self.note.files.items()})

    def lists(self, quantiser: Quantiser) -> InvertedLists:
        """Its inverted lists.

        Raises:
            QpertError: they are missing or damaged.
        """
        return open_lists(quantiser, self.folder, self.note.vectors)

    def directions(self, quantiser: Quantiser) -> InvertedLists:
        """The list of the directions of its photos, of an index `photo-pq`.

        Raises:
            QpertError: it is missing or damaged.
        """
        return open_lists(quantiser, self.folder, self.note.photos)

    def codes(self, quantiser: Quantiser, first: int) -> PhotoCodes:
        """The codes of its photos' vectors, of an index `photo-pq`; its first photo has the number `first`.

        Raises:
            QpertError: they are missing or damaged.
        """
        return PhotoCodes.open(quantiser, self.folder, np.diff(self.starts), first)


def check_sizes(note: ShardNote, folder: str) -> None:
    """Check that the files of a shard are there and as long as they were.

    Raises:
        QpertError: says which is not.
    """
    for name, size in note.sizes.items():
        path = os.path.join(folder, name)
        try:
            found = os.stat(path)
        except OSError as error:
            raise QpertError(f"{path} cannot be read ({error.strerror})") from error
        if found.st_size != size or not stat.S_ISREG(found.st_mode):
            raise QpertError(f"{path} is damaged: {found.st_size:,} bytes of {size:,}")


def open_shard(features: FeatureSet, key: str, note: ShardNote, folder: str) -> Shard:
    """Open a shard in a local folder.

    Raises:
        QpertError: files of it are missing or damaged, or are not what the manifest says.
    """
    check_sizes(note, folder)
    photos = _mapped_photos(os.path.join(folder, PHOTOS), photo_schema(features))
    numbers = photos["vectors"]
    if photos.num_rows != note.photos or sum(span.photos for span in note.files.values()) != note.photos:
        raise QpertError(f"{folder} is damaged: it does not hold {note.photos:,} photos")
    per_photo = np.asarray(numbers).astype(np.int64) if not numbers.null_count else np.zeros(1, np.int64)
    if per_photo.min(initial=1) < 1 or per_photo.sum() != note.vectors:
        raise QpertError(f"{folder} is damaged: its photos do not have {note.vectors:,} vectors")
    uniform = features.vectors if bool((per_photo == features.vectors).all()) else None
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(per_photo)])
    stored = None
    if VECTORS in note.sizes:
        vectors = ArrayFile(os.path.join(folder, VECTORS), features.manifest.precision, (note.vectors, features.dim))
        lengths = ArrayFile(os.path.join(folder, LENGTHS), np.float32, (note.vectors,))
        stored = StoredVectors(vectors, lengths, starts, uniform, int(per_photo.max(initial=1)))
    return Shard(key, note, folder, photos, starts, stored)


def _mapped_photos(path: str, schema: pa.Schema) -> pa.Table:
    try:
        with open(path, "rb") as file:
            _refuse_extensions(file.fileno(), path)
        reader = pa.ipc.open_file(pa.memory_map(path))
        if reader.schema != schema:
            raise ValueError("it has other columns")
        photos = reader.read_all()
        photos.validate()
        return photos
    except (OSError, ValueError, pa.ArrowException) as error:
        raise QpertError(f"{path} is damaged: {first_line(error)[:200]}") from error


def _refuse_extensions(descriptor: int, path: str) -> None:
    """Search the schema in the footer of an Arrow file before Arrow builds its types."""
    size = os.fstat(descriptor).st_size
    length = int.from_bytes(os.pread(descriptor, 4, max(0, size - 10)), "little")
    if length > min(size, _METADATA):
        raise ValueError("it does not end like an Arrow file")
    if _EXTENSION in os.pread(descriptor, length + 10, max(0, size - 10 - length)):
        raise QpertError(f"{path} has Arrow extension types, which may hold programs and are never read")

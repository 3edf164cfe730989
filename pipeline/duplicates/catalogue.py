"""The photos of several feature sets as one table, and the order in which they are worth keeping."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.duplicates.formats import Preference
from pipeline.features.feature_set import FeatureSet
from pipeline.features.schema import features_schema
from pipeline.retrieval.similarity import Float32
from pipeline.vectors.snapshot import Snapshot

Int64 = npt.NDArray[np.int64]
COLUMNS = ("image_id", "uri", "width", "height", "size", "taken")
"""What is known of each photo, null where unknown."""
_LARGEST = [("pixels", "descending"), ("size", "descending")]
_OLDEST = [("taken", "ascending")]
_TIES = [("image_id", "ascending"), ("set", "ascending")]


@dataclass(frozen=True, eq=False)
class Catalogue:
    """The photos of several sets that have an embedding.

    Attributes:
        sets: names of the sets.
        table: `COLUMNS`, `set` (place in `sets`), `number` (of the photo in its set) and, if it is read, `digest`.
    """

    sets: tuple[str, ...]
    table: pa.Table

    @classmethod
    def of_snapshots(cls, snapshots: Sequence[Snapshot]) -> Catalogue:
        """The photos that count of opened sets."""
        parts = []
        for place, snapshot in enumerate(snapshots):
            live = np.flatnonzero(snapshot.live)
            columns = {name: snapshot.photos.column(name) for name in COLUMNS}
            parts.append(_part(pa.table(columns).take(pa.array(live)), place, live))
        return cls(tuple(snapshot.features.root for snapshot in snapshots), pa.concat_tables(parts))

    @classmethod
    def with_digests(cls, sets: Sequence[FeatureSet]) -> Catalogue:
        """The photos of some sets with the digests of their bytes; no vectors are read."""
        parts = []
        schema = pa.schema([features_schema().field(name) for name in (*COLUMNS, "digest")])
        for place, features in enumerate(sets):
            known = [name for name in schema.names if name in features.dataset.schema.names]
            table = pa.Table.from_batches(
                list(features.iter_blocks(known)), pa.schema([features.dataset.schema.field(name) for name in known])
            )
            lacking = [name for name in schema.names if name not in known]
            for name in lacking:
                table = table.append_column(name, pa.nulls(table.num_rows, schema.field(name).type))
            parts.append(_part(table.select(schema.names).cast(schema), place, np.arange(table.num_rows)))
        return cls(tuple(features.root for features in sets), pa.concat_tables(parts))

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def order(self, first: Preference) -> Int64:
        """The places of all photos in the table, the one to keep first.

        Args:
            first: ``largest``: most pixels, then most bytes, then oldest; ``oldest``: by `taken`, unknown last, then
                largest. Equal ones are ordered by id, so that the order does not depend on files.
        """
        pixels = pc.multiply(self.table["width"].cast(pa.int64()), self.table["height"].cast(pa.int64()))
        keys = [*_LARGEST, *_OLDEST, *_TIES] if first == "largest" else [*_OLDEST, *_LARGEST, *_TIES]
        columns = self.table.append_column("pixels", pixels)
        return np.asarray(pc.sort_indices(columns, sort_keys=keys)).astype(np.int64)

    def rows(self, places: Int64) -> list[dict[str, Any]]:
        """`COLUMNS` and `set` of some photos, in the order of `places`."""
        rows: list[dict[str, Any]] = self.table.select(["set", *COLUMNS]).take(pa.array(places)).to_pylist()
        return rows


@dataclass(frozen=True, eq=False)
class PhotoVectors:
    """The vectors of the photos of a catalogue.

    Attributes:
        snapshots: the sets of the catalogue.
        sets: int64 [N], the set of each photo.
        numbers: int64 [N], its number in that set.
    """

    snapshots: tuple[Snapshot, ...]
    sets: Int64
    numbers: Int64

    @classmethod
    def of(cls, snapshots: Sequence[Snapshot], catalogue: Catalogue, order: Int64) -> PhotoVectors:
        """Those of the photos in an order: photo n is the one at ``order[n]`` in the catalogue."""
        columns = (np.asarray(catalogue.table[name].to_numpy())[order].astype(np.int64) for name in ("set", "number"))
        return cls(tuple(snapshots), *columns)

    def __len__(self) -> int:
        return len(self.sets)

    def take(self, photos: Int64) -> list[Float32]:
        """The unit vectors [V, D] of some photos."""
        found: list[Float32] = [np.empty((0, 0), np.float32)] * len(photos)
        for place, snapshot in enumerate(self.snapshots):
            mine = np.flatnonzero(self.sets[photos] == place)
            if len(mine):
                vectors = snapshot.vectors_of(self.numbers[photos[mine]])
                for at, rows in zip(mine, vectors, strict=True):
                    found[at] = rows
        return found


def _part(table: pa.Table, place: int, numbers: npt.NDArray[Any]) -> pa.Table:
    sets = pa.array(np.full(len(numbers), place, np.int32))
    return table.append_column("set", sets).append_column("number", pa.array(numbers.astype(np.int64)))

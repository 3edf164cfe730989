"""From the options of an export to what is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.errors import QpertError
from pipeline.exports.csv_table import batch_lines
from pipeline.exports.destination import check_destination, check_room, placed
from pipeline.exports.formats import FORMATS
from pipeline.exports.job import Job
from pipeline.exports.rows import ExportRows
from pipeline.exports.spec import ExportSpec
from pipeline.features.feature_set import FeatureSet
from pipeline.retrieval.several_sets import join_sets, open_sets

_FORMAT = 1
_SAMPLE = 64
"""Photos by whose metadata the size of all is estimated."""


@dataclass(frozen=True)
class Export:
    """An export whose options have been checked.

    Attributes:
        spec: the options.
        sets: the sets that it is of.
        rows: what is exported.
        photos: how many photos.
        count: how many rows.
        bytes: about how many bytes are written, before Parquet and Lance compress what is not a vector.
    """

    spec: ExportSpec
    sets: tuple[FeatureSet, ...]
    rows: ExportRows
    photos: int
    count: int
    bytes: int

    @classmethod
    def plan(cls, spec: ExportSpec, *, to_write: bool = True) -> Export:
        """Checks the options, opens the sets, and counts.

        Args:
            spec: the options.
            to_write: the destination is checked too.

        Raises:
            QpertError: the sets cannot be opened or do not fit together, the form cannot hold the rows, or something
                is in the way at the destination.
        """
        form = FORMATS[spec.to]
        if spec.vectors and spec.to != "csv":
            raise QpertError("--vectors is for --to csv; the other forms always have the vectors")
        if spec.pool == "mean" and spec.rows == "vector":
            raise QpertError("--pool mean makes one vector of a photo: leave out --rows vector")
        form.check_place(spec.out)
        if to_write:
            check_destination(spec.out, form.is_ours, force=spec.force)
        sets = open_sets(spec.features, spec.variant)
        rows = ExportRows.of(join_sets(sets), spec)
        form.check_rows(rows)
        photos, vectors = rows.count()
        if not photos:
            raise QpertError(f"{rows.features.root} has no photo with an embedding: there is nothing to export")
        count = vectors if rows.per_vector else photos
        return cls(spec, tuple(sets), rows, photos, count, _estimate(rows, photos, vectors, spec))

    def write(self, counted: Callable[[int], object] = lambda count: None) -> None:
        """Writes the export, and moves it into its place.

        Args:
            counted: is called now and then with the number of rows written so far.

        Raises:
            QpertError: there is no room, a stored vector is not a vector, or the set has other rows than were counted.
            OSError: storage fails.
        """
        check_room(self.spec.out, self.bytes)
        problems: list[QpertError] = []

        def batches() -> Iterator[pa.RecordBatch]:
            try:
                yield from self._batches(counted)
            except QpertError as problem:
                problems.append(problem)
                raise

        with placed(self.spec.out) as folder:
            try:
                FORMATS[self.spec.to].write(Job(folder, self.rows, self.count, batches(), self.about()))
            except OSError as error:
                if problems:  # Lance makes an OSError of whatever its rows raise
                    raise problems[0] from error
                raise

    def _batches(self, counted: Callable[[int], object]) -> Iterator[pa.RecordBatch]:
        done = 0
        for batch in self.rows.batches():
            done += batch.num_rows
            yield batch
            counted(done)
        if done != self.count:
            raise QpertError(f"{self.rows.features.root} has {done:,} rows, and had {self.count:,} a moment ago")

    def about(self) -> dict[str, Any]:
        """What the export is of, and how its vectors were made; plain JSON values."""
        features, rows = self.rows.features, self.rows
        return {
            "format": _FORMAT,
            "to": self.spec.to,
            "sets": [opened.root for opened in self.sets],
            "fingerprints": list(dict.fromkeys(opened.manifest.fingerprint for opened in self.sets)),
            "encoder": features.manifest.encoder,
            "variant": self.spec.variant,
            "rows": self.count,
            "photos": self.photos,
            "row": "vector" if rows.per_vector else "photo",
            "vectors": rows.vectors_per_row,
            "dim": features.dim,
            "dtype": rows.precision,
            "pool": self.spec.pool,
            "score": "the highest inner product of a photo's vectors with the text's, all of length 1",
        }


def _estimate(rows: ExportRows, photos: int, vectors: int, spec: ExportSpec) -> int:
    """About how many bytes the export takes, by its first photos."""
    sample = next(ExportRows(**{**vars(rows), "limit": _SAMPLE}).batches())
    count = vectors if rows.per_vector else photos
    if spec.to == "csv":
        return int(len(batch_lines(sample)) * count / sample.num_rows)
    names = [name for name in sample.schema.names if name != "vector"]
    rest = int(sample.select(names).nbytes * count / sample.num_rows)
    return vectors * rows.features.dim * np.dtype(rows.precision).itemsize + rest

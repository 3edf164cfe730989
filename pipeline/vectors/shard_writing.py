"""Writing a shard: the photos of some features files, their vectors, and the inverted lists of an approximate index."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np
import pyarrow as pa

from pipeline.features.feature_set import FeatureSet
from pipeline.retrieval.similarity import Float32, unit
from pipeline.vectors.array_file import writing_array
from pipeline.vectors.index_manifest import FileSpan, ShardNote, file_identity
from pipeline.vectors.inverted_lists import ListWriter
from pipeline.vectors.layout import LENGTHS, PHOTOS, VECTORS
from pipeline.vectors.parquet_rows import files_of, read_rows
from pipeline.vectors.photo_codes import PhotoCodeWriter
from pipeline.vectors.photo_table import photo_schema
from pipeline.vectors.quantiser import Quantiser
from pipeline.vectors.ranking import Rows
from pipeline.vectors.settings import IndexSettings

_BATCH = 1 << 16
"""Photos in a record batch of a shard."""
_HASHED = 1 << 22


def write_shard(
    features: FeatureSet, files: Sequence[str], folder: str, settings: IndexSettings, quantiser: bytes | None = None
) -> ShardNote:
    """Write a shard of some features files.

    All rows with an embedding are written, those included that no longer count: they may count again later.

    Args:
        features: the set, opened with the embedding that is indexed.
        files: names of features files.
        folder: an empty local folder.
        settings: of the index; with `exact` or `keep_vectors`, the stored vectors are kept.
        quantiser: what `train` made for these settings; None for `exact`.

    Raises:
        QpertError: a features file is damaged, or a stored vector is NaN, infinite or zero.
    """
    spans: dict[str, FileSpan] = {}
    vectors = 0
    with ExitStack() as stack:
        dtype = np.dtype(features.manifest.precision)
        raw = lengths = None
        if settings.keep_vectors:
            raw = stack.enter_context(writing_array(os.path.join(folder, VECTORS), dtype, (features.dim,)))
            lengths = stack.enter_context(writing_array(os.path.join(folder, LENGTHS), np.float32, ()))
        photos = stack.enter_context(_PhotoWriter(os.path.join(folder, PHOTOS), photo_schema(features)))
        codes = None if quantiser is None else Quantiser.load(quantiser, settings, features.dim)
        lists = codes_of_photos = None
        if codes is not None and codes.inner is None:
            lists = ListWriter(codes)
        elif codes is not None:
            codes_of_photos = stack.enter_context(PhotoCodeWriter(codes, folder))
        for name in files:
            count = 0
            for table, rows in read_rows(features, name):
                photos.write(table)
                count += table.num_rows
                vectors += len(rows.vectors)
                normal, norms = _normal(rows)
                if raw is not None and lengths is not None:
                    raw.write(np.ascontiguousarray(rows.vectors).data)
                    lengths.write(norms.data)
                if lists is not None:
                    lists.add(normal)
                if codes_of_photos is not None:
                    codes_of_photos.add(normal, rows.counts)
            spans[name] = FileSpan(identity=file_identity(files_of(features), name), photos=count)
    if lists is not None:
        lists.write(folder)
    names = sorted(os.listdir(folder))
    return ShardNote(
        kind=settings.kind,
        files=spans,
        photos=sum(span.photos for span in spans.values()),
        vectors=vectors,
        sizes={name: os.path.getsize(os.path.join(folder, name)) for name in names},
        digests={name: file_digest(os.path.join(folder, name)) for name in names},
    )


def _normal(rows: Rows) -> tuple[Float32, Float32]:
    """The vectors [m, D] with length 1, and their lengths [m] before."""
    floats = rows.vectors.astype(np.float32)
    lengths: Float32 = np.sqrt(np.einsum("md,md->m", floats, floats))
    return unit(rows.vectors, rows.what), lengths


def file_digest(path: str) -> str:
    """BLAKE2b of a file, 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while piece := file.read(_HASHED):
            digest.update(piece)
    return digest.hexdigest()


class _PhotoWriter:
    """Writes photos as an Arrow file of large record batches."""

    def __init__(self, path: str, schema: pa.Schema) -> None:
        self.path, self.schema = path, schema
        self._held: list[pa.Table] = []
        self._rows = 0

    def __enter__(self) -> _PhotoWriter:
        self._file = open(self.path, "wb")
        self._writer = pa.ipc.new_file(self._file, self.schema)
        return self

    def __exit__(self, *error: object) -> None:
        try:
            if error[0] is None:
                self._flush()
                self._writer.close()
                self._file.flush()
                os.fsync(self._file.fileno())
        finally:
            self._file.close()

    def write(self, photos: pa.Table) -> None:
        self._held.append(photos)
        self._rows += photos.num_rows
        if self._rows >= _BATCH:
            self._flush()

    def _flush(self) -> None:
        if self._held:
            self._writer.write_table(pa.concat_tables(self._held).combine_chunks())
        self._held, self._rows = [], 0

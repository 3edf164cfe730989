"""A simulated feature set on disk, with the texts that it is searched with."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.benchmarks.search_data import Float16, SearchSizes, SimulatedPhotos
from pipeline.errors import QpertError
from pipeline.features.manifest import Manifest
from pipeline.features.schema import DICTIONARY, features_schema
from pipeline.features.store import FeatureStore
from pipeline.printing import size_text

TEXTS = "texts.npy"
_SIZES = "sizes.json"
_FILE_BYTES = 2**28
"""Vectors in a features file."""
_SPARE = 15 * 10**9
"""Bytes that stay free on the disk beside a large set; beside a small one, as many as it takes itself."""


def write_set(sizes: SearchSizes, texts: int, out: Path) -> None:
    """Write a simulated feature set to `out`, and the vectors of its texts to ``texts.npy``.

    A set of these sizes that is there is kept.

    Raises:
        QpertError: another set is there, or its writing was interrupted.
    """
    noted = out / _SIZES
    wanted = dataclasses.asdict(sizes) | {"texts": texts}
    if out.exists() and any(out.iterdir()):
        if noted.is_file() and json.loads(noted.read_text(encoding="utf-8")) == wanted:
            return
        raise QpertError(f"{out} holds something else, or a part of a set: delete it, or choose another folder")
    photos = SimulatedPhotos(sizes)
    store = FeatureStore(str(out))
    (out / store.FEATURES).mkdir(parents=True)
    np.save(out / TEXTS, photos.texts(texts))
    schema = features_schema()
    per_file = max(1, _FILE_BYTES // (2 * sizes.vectors * sizes.dim))
    first = 0
    for number, file in enumerate(_regrouped(photos, per_file)):
        names = [f"{photo // 1000:06d}/{photo:09d}.jpg" for photo in range(first, first + len(file))]
        first += len(file)
        # As the encode stage writes them: embeddings do not compress.
        with pq.ParquetWriter(
            out / store.FEATURES / f"simulated-{number:06d}.parquet",
            schema,
            compression="none",
            use_dictionary=list(DICTIONARY[:3]),
        ) as writer:
            writer.write_table(_table(names, file, schema), row_group_size=256)
    store.write_manifest(
        Manifest(state="complete", fingerprint=f"simulated-{sizes.seed}", vectors=sizes.vectors, dim=sizes.dim)
    )
    noted.write_text(json.dumps(wanted) + "\n", encoding="utf-8")


def check_room(folder: Path, needed: int) -> None:
    """Refuses before any work if the disk of `folder` lacks room.

    Args:
        folder: where `needed` bytes will be written.
        needed: at the same time, at most.

    Raises:
        QpertError: with the bytes needed and free.
    """
    free, spare = shutil.disk_usage(folder).free, min(needed, _SPARE)
    if needed + spare > free:
        raise QpertError(
            f"the measurement needs {size_text(needed)} in {folder}, and {size_text(spare)} should stay free, but only"
            f" {size_text(free)} are: choose fewer photos, or another folder with --tmp"
        )


def _regrouped(blocks: Iterable[Float16], size: int) -> Iterator[Float16]:
    """The same photos in groups of `size`, the last of fewer."""
    held: list[Float16] = []
    for block in blocks:
        rest = block
        while len(rest):
            room = size - sum(map(len, held))
            held.append(rest[:room])
            rest = rest[room:]
            if sum(map(len, held)) == size:
                yield np.concatenate(held)
                held = []
    if held:
        yield np.concatenate(held)


def _table(names: list[str], vectors: npt.NDArray[np.float16], schema: pa.Schema) -> pa.Table:
    count, cells = len(vectors), vectors[0].size
    starts = pa.array(np.arange(count + 1) * cells, pa.int32())
    columns = {
        "image_id": pa.array(names),
        "uri": pa.array(names),
        "width": pa.array(np.full(count, 640, np.int32)),
        "height": pa.array(np.full(count, 480, np.int32)),
        "embedding": pa.ListArray.from_arrays(starts, pa.array(vectors.reshape(-1))),
    }
    return pa.table([columns.get(field.name, pa.nulls(count, field.type)) for field in schema], schema=schema)

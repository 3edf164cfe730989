"""Feature sets on disk as a run leaves them, made without Ray or a model, and helpers to inspect them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.datasets.photos.found_photos import LISTING_SCHEMA, Listing
from pipeline.datasets.photos.part import Part
from pipeline.features.feature_set import FeatureSet
from pipeline.features.fingerprint import fingerprint
from pipeline.features.manifest import PARTED_FORMAT, Manifest
from pipeline.features.schema import features_schema
from pipeline.features.store import FeatureStore
from pipeline.io.photo_state import digest_of

IDENTITY: dict[str, Any] = {"encoder": {"name": "coca"}}
MARK = fingerprint(IDENTITY)
VECTORS, DIM = 2, 4


@dataclass(frozen=True)
class Source:
    """Files in a folder, listed with size and modification time."""

    folder: Path

    def put(self, name: str, content: bytes, second: int = 1_000) -> None:
        """Write a file, last modified `second` seconds after 1970."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (second, second))

    def names(self) -> list[str]:
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*.jpg"))

    def listing(self, *, states: bool = True) -> Listing:
        """The listing of the folder, with size and time if `states`."""
        table = rows_of_photos(self, self.names()) if self.names() else LISTING_SCHEMA.empty_table()
        if not states:
            nulls = {name: pa.nulls(table.num_rows, LISTING_SCHEMA.field(name).type) for name in ("size", "mtime")}
            for name, column in nulls.items():
                table = table.set_column(table.column_names.index(name), name, column)
        path = self.folder.parent / "listed.parquet"
        pq.write_table(table.select(LISTING_SCHEMA.names).cast(LISTING_SCHEMA), path)
        return replace(Listing("folder", str(self.folder), lambda: iter(())), saved=str(path))


def some_photos(folder: Path, count: int) -> Source:
    """A source of `count` different photos: 0.jpg, 1.jpg, ..."""
    made = Source(folder)
    for number in range(count):
        made.put(f"{number}.jpg", b"photo %d" % number)
    return made


def rows_of_photos(source: Source, names: Sequence[str], failed: Iterable[str] = ()) -> pa.Table:
    """Feature rows of these photos."""
    rows = []
    for name in names:
        path = source.folder / name
        seed = int(digest_of(path.read_bytes())[:8], 16)
        vector = np.random.default_rng(seed).standard_normal(VECTORS * DIM).astype(np.float16)
        rows.append(
            {
                "image_id": name,
                "uri": str(path),
                "width": 4,
                "height": 3,
                "objects": [{"x0": 0.0, "y0": 0.0, "x1": 0.5, "y1": 1.0, "label": "star", "score": 0.5}],
                "largest_area": 0.5,
                "embedding": None if name in failed else vector,
                "error": "truncated image" if name in failed else None,
                "device": "cpu",
                "dtype": "float32",
                "seconds": 0.1,
                "size": path.stat().st_size,
                "mtime": int(path.stat().st_mtime) * 1_000_000,
                "digest": digest_of(path.read_bytes()),
            }
        )
    return pa.Table.from_pylist(rows, schema=features_schema())


def commit(out: str, name: str, rows: pa.Table, mark: str = MARK) -> None:
    """Write a file as Ray does: the features first, then the checkpoint that commits them."""
    for folder in ("features", f"checkpoint/{mark}"):
        (Path(out) / folder).mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, Path(out) / "features" / f"{name}-0.parquet", write_page_checksum=True)
    pq.write_table(rows.select(["image_id"]), Path(out) / "checkpoint" / mark / f"{name}.parquet")


def make_set(out: str, source: Source, *, files: int = 3, ledger: bool = True, failed: Iterable[str] = ()) -> None:
    """Write a complete set of all photos of `source`."""
    for number, part in enumerate(np.array_split(np.array(source.names()), files)):
        commit(out, f"run_{number}", rows_of_photos(source, part.tolist(), failed))
    manifest(out)
    if ledger:
        counts = FeatureStore(out).note_committed(MARK).counts()
        manifest(out, counts=counts)


def make_parts(out: str, source: Source, numbers: Iterable[int], count: int) -> None:
    """Write the parts with these `numbers`, of `count`, of a set of all photos of `source`; each in two files."""
    manifest(out, state="running", vectors=None, dim=None, format=PARTED_FORMAT, parts=count)
    for number in numbers:
        part = FeatureStore(out).part(number, count).root
        names = [name for name in source.names() if Part(number, count).has(name)]
        for at, some in enumerate(np.array_split(np.array(names), 2)):
            if len(some):
                commit(part, f"run_{at}", rows_of_photos(source, some.tolist()))
        manifest(part)
        manifest(part, counts=FeatureStore(part).note_committed(MARK).counts())


def manifest(out: str, **changes: Any) -> Manifest:
    made = Manifest(
        fingerprint=MARK, identity=IDENTITY, state="complete", vectors=VECTORS, dim=DIM, encoder={"name": "coca"}
    )
    made = made.model_copy(update=changes)
    FeatureStore(out).write_manifest(made)
    return made


def ids_in(out: str) -> list[str]:
    """Sorted ids of the rows that count."""
    return sorted(FeatureSet.open(out).dataset.to_table(columns=["image_id"])["image_id"].to_pylist())


def checkpointed(out: str) -> list[str]:
    """Sorted ids in the checkpoint."""
    tables = [pq.read_table(path)["image_id"].to_pylist() for path in (Path(out) / "checkpoint" / MARK).iterdir()]
    return sorted(name for ids in tables for name in ids)


def damage_page(path: Path, place: float = 0.5) -> None:
    """Change eight bytes in the pages of a Parquet file, at a relative `place` (0..1), but not its size."""
    data = bytearray(path.read_bytes())
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    at = 4 + int(place * (footer - 4))
    data[at : at + 8] = bytes(byte ^ 0x55 for byte in data[at : at + 8])
    path.write_bytes(bytes(data))

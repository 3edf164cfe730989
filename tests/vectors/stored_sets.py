"""Feature sets on disk with vectors of our choice, and what a search of them must find."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.features.feature_set import FeatureSet
from pipeline.features.ledger import Ledger
from pipeline.features.manifest import Manifest
from pipeline.features.marks import add_marks
from pipeline.features.parts import files_of
from pipeline.features.schema import features_schema
from pipeline.features.views import View
from pipeline.io.locations import Folder
from pipeline.retrieval.similarity import unit
from pipeline.vectors.query_vectors import QueryVectors
from pipeline.vectors.snapshot import Snapshot


def grid(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Vectors [..., D] of few different numbers, none of them zero, so that many scores are equal."""
    vectors = rng.integers(-2, 3, shape).astype(np.float32)
    vectors[..., 0] += np.where(np.abs(vectors).sum(-1) == 0, 1, 0)
    return vectors * rng.choice([0.25, 0.5, 2.0], (*shape[:-1], 1)).astype(np.float32)


def write_set(
    root: Path,
    photos: Sequence[np.ndarray | None],
    vectors: int,
    *,
    files: int = 1,
    precision: str = "float16",
    first: int = 0,
    multi: bool = False,
    ledger: bool = True,
    fingerprint: str = "0" * 16,
    variants: Sequence[str] = (),
) -> None:
    """Write a set, or further files of one.

    Args:
        root: its folder.
        photos: the vectors [m, D] of each photo, m a multiple of `vectors`; None for one that failed.
        vectors: V.
        files: features files.
        precision: of the vectors.
        first: number that the ids begin with.
        multi: photos have views.
        ledger: write it anew.
        fingerprint: of the set.
        variants: names of several embeddings of each photo.
    """
    dim = next(photo.shape[1] for photo in photos if photo is not None)
    rows = []
    for number, photo in enumerate(photos, first):
        row: dict[str, Any] = {
            "image_id": f"{number * 7919 % 10007:05d}.jpg",
            "uri": f"/photos/{number}.jpg",
            "width": number + 1,
            "height": 48,
            "objects": [{"x0": 0.0, "y0": 0.0, "x1": 0.5, "y1": 1.0, "label": "star", "score": 0.5}],
            "error": "broken" if photo is None else None,
            "embedding": None if photo is None else photo.ravel().astype(precision),
        }
        if multi and photo is not None:
            views = [View("whole"), *[View("crop", (0.0, 0.0, 0.5, 0.5))] * (len(photo) // vectors - 1)]
            row["views"] = [view.as_row() for view in views]
        rows.append(row)
    (root / "features").mkdir(parents=True, exist_ok=True)
    schema = features_schema(precision, with_views=multi)
    for number, part in enumerate(np.array_split(np.arange(len(rows)), files)):
        table = pa.Table.from_pylist([rows[at] for at in part], schema=schema)
        name = f"part{first:05d}_{number:03d}-0.parquet"
        pq.write_table(table, root / "features" / name, row_group_size=3, write_page_checksum=True)
    manifest = Manifest(
        state="complete",
        fingerprint=fingerprint,
        encoder={"name": "coca"},
        vectors=vectors,
        dim=dim,
        precision=precision,
        multi=["crops"] if multi else [],
        variants=list(variants),
    )
    manifest.write(Folder.open(str(root)))
    if ledger:
        write_ledger(root)


def write_ledger(root: Path) -> None:
    """Enter all files of a set in its ledger."""
    folder = Folder.open(str(root))
    (root / "committed.json").unlink(missing_ok=True)
    files = files_of(folder, Manifest.read(folder))
    Ledger({name: files.examine(name, whole=False) for name in files.names}).write(folder)


def remove(root: Path, ids: Iterable[str]) -> None:
    """Take rows out of use."""
    folder = Folder.open(str(root))
    files = files_of(folder, Manifest.read(folder))
    wanted = set(ids)
    rows = [
        {"file": name, "image_id": image_id, "reason": "gone"}
        for name in files.names
        for image_id in files.read(name, ["image_id"])["image_id"].to_pylist()
        if image_id in wanted
    ]
    add_marks(
        folder,
        "removed",
        pa.Table.from_pylist(rows, schema=pa.schema([(n, pa.string()) for n in ("file", "image_id", "reason")])),
    )


def brute_force(
    root: Path,
    query: QueryVectors,
    k: int,
    *,
    floor: float = -np.inf,
    allowed: set[str] | None = None,
    variant: str | None = None,
) -> list[tuple[str, float]]:
    """(image_id, score) of the k best photos: every vector of every photo, one after another, in float64."""
    features = FeatureSet.open(str(root), variant)
    ranked = []
    for block in features.iter_blocks(rows=1):
        image_id = block["image_id"][0].as_py()
        if allowed is not None and image_id not in allowed:
            continue
        vectors = unit(features.embeddings(block)[0], "").astype(np.float64)
        score = 0.0
        for vector, weight in zip(query.vectors.astype(np.float64), query.weights.astype(np.float64), strict=True):
            score += float(weight) * max(float(np.einsum("d,d->", one, vector)) for one in vectors)
        if float(np.float32(score)) >= floor:
            ranked.append((-float(np.float32(score)), image_id))
    return [(image_id, -negative) for negative, image_id in sorted(ranked)[:k]]


def answers(
    snapshot: Snapshot, queries: Sequence[QueryVectors], k: int, **options: Any
) -> list[list[tuple[str, float]]]:
    """(image_id, score) of the photos found for each query."""
    return [
        list(zip(snapshot.photos.ids(found.photos), found.scores.tolist(), strict=True))
        for found in snapshot.search(queries, k, **options)
    ]


def random_queries(rng: np.random.Generator, count: int, dim: int, terms: int = 1) -> list[QueryVectors]:
    """Queries of up to `terms` vectors, of numbers that make for equal scores."""
    queries = []
    for _ in range(count):
        n = int(rng.integers(1, terms + 1))
        weights = np.ones(1) if n == 1 else rng.choice([-0.5, 0.25, 1.0], n)
        queries.append(QueryVectors(unit(grid(rng, n, dim), ""), weights.astype(np.float32)))
    return queries

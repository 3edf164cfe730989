"""Feature sets whose photos have several views, made without a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.features.feature_set import FeatureSet
from pipeline.features.manifest import Manifest
from pipeline.features.schema import features_schema
from pipeline.features.store import FeatureStore
from pipeline.features.views import View

MULTI = ["regions", "crops", "tiles", "clusters", "objects"]


def units(*shape: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Random unit vectors, exact in half precision."""
    values = np.random.default_rng(seed).standard_normal(shape)
    return (values / np.linalg.norm(values, axis=-1, keepdims=True)).astype(np.float16).astype(np.float32)


def view_of(kind: str, number: int) -> View:
    return View(kind) if kind == "whole" else View(kind, (0.0, 0.0, 0.5, (number + 1) / 64))


def write_views(
    folder: Path,
    kinds: Sequence[Sequence[str] | None],
    vectors: int = 2,
    dim: int = 8,
    *,
    variants: Sequence[str] = (),
    variant: str | None = None,
    files: int = 1,
    **changes: Any,
) -> tuple[FeatureSet, list[npt.NDArray[np.float32]]]:
    """Writes a set and opens it.

    Args:
        folder: for the set.
        kinds: of the further views of each photo; None for a photo that failed.
        vectors: V.
        dim: D.
        variants: names of several embeddings of the whole photo.
        variant: which of them to open.
        files: Parquet files.
        changes: of the manifest.

    Returns:
        The set, and for each photo that did not fail its vectors [S + n, V, D] as stored, S embeddings of it as a
        whole first.
    """
    wholes = max(1, len(variants))
    rows, stored = [], []
    for number, of_photo in enumerate(kinds):
        row: dict[str, Any] = {"image_id": f"{number:06d}.jpg", "uri": f"/photos/{number:06d}.jpg", "error": "broken"}
        if of_photo is not None:
            array = units(wholes + len(of_photo), vectors, dim, seed=number)
            stored.append(array)
            views = [View("whole"), *(view_of(kind, place) for place, kind in enumerate(of_photo))]
            row |= {"error": None, "embedding": array.ravel().astype(np.float16), "views": [v.as_row() for v in views]}
        rows.append(row)
    (folder / "features").mkdir(parents=True)
    for number, part in enumerate(np.array_split(np.arange(len(rows)), files)):
        table = pa.Table.from_pylist([rows[at] for at in part], schema=features_schema(with_views=True))
        pq.write_table(table, folder / "features" / f"part_{number}-0.parquet")
    manifest = Manifest(
        fingerprint="viewed",
        state="complete",
        vectors=vectors,
        dim=dim,
        encoder={"name": "coca"},
        multi=MULTI,
        variants=list(variants),
    )
    FeatureStore(str(folder)).write_manifest(manifest.model_copy(update=changes))
    return FeatureSet.open(str(folder), variant), stored

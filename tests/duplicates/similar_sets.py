"""Feature sets on disk whose photos are more or less similar, made without a model."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.features.schema import features_schema
from pipeline.retrieval.similarity import Float32, unit
from tests.features.stored import commit, manifest


def similar_photos(seed: int, count: int, vectors: int, dim: int, *, clusters: int = 4) -> list[Float32]:
    """The unit vectors [V, D] of photos in a few clusters, some of them equal and some far out."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((clusters, vectors, dim))
    photos: list[Float32] = []
    for _ in range(count):
        if photos and random.random() < 0.2:
            photos.append(photos[random.integers(len(photos))])
            continue
        noise = random.choice([0.02, 0.2, 0.5, 2.0]) * random.standard_normal((vectors, dim))
        stored = unit(centres[random.integers(clusters)] + noise, "the test").astype(np.float16)
        photos.append(unit(stored, "the test"))
    return photos


def row(number: int, vectors: Float32, **known: Any) -> dict[str, Any]:
    """A row of features; `known` are columns."""
    return {
        "image_id": f"{number:04}.jpg",
        "uri": f"/photos/{number:04}.jpg",
        "width": 100,
        "height": 100,
        "size": 1000,
        "embedding": vectors.astype(np.float16).ravel(),
        **known,
    }


def write_set(out: Path, rows: Sequence[dict[str, Any]], shape: tuple[int, int], *, files: int = 2) -> str:
    """Writes a set of photos with V vectors of length D, and returns its path."""
    for number, part in enumerate(np.array_split(np.arange(len(rows)), files)):
        table = pa.Table.from_pylist([rows[at] for at in part], schema=features_schema())
        commit(str(out), f"run_{number}", table)
    manifest(str(out), vectors=shape[0], dim=shape[1])
    return str(out)


def random_facts(seed: int, number: int) -> dict[str, Any]:
    """Sizes and dates, often the same or unknown."""
    random = np.random.default_rng((seed, number))
    return {
        "width": int(random.integers(1, 4)) * 100,
        "size": [None, 1000, 2000][random.integers(3)],
        "taken": [None, datetime(2020, 1, 1), datetime(2021, 1, 1)][random.integers(3)],
        "digest": [None, "a" * 32, "b" * 32, f"{number:032}"][random.integers(4)],
    }

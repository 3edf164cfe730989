"""Building an approximate index of a small set in this process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from pipeline.features.feature_set import FeatureSet
from pipeline.vectors.coverage import shard_groups
from pipeline.vectors.index_manifest import IndexEntry, IndexManifest, file_identity, index_name, shard_key
from pipeline.vectors.parquet_rows import files_of, read_vectors
from pipeline.vectors.quantiser import quantiser_digest
from pipeline.vectors.settings import IndexSettings, Kind, chosen_settings
from pipeline.vectors.shard_writing import write_shard
from pipeline.vectors.training import train


def build_index(root: Path, kind: Kind, *, per_shard: int = 1, **overrides: Any) -> IndexSettings:
    """Index all files of a set, `per_shard` bytes in a shard."""
    features = FeatureSet.open(str(root))
    files = files_of(features)
    read = [rows for name in files.names for rows in read_vectors(features, name)]
    vectors = np.concatenate([rows.as_unit() for rows in read])
    counts = np.concatenate([rows.counts for rows in read])
    if kind == "photo-pq":
        overrides = {name: value for name, value in overrides.items() if name not in ("lists", "probes")}
    settings = chosen_settings(kind, len(vectors), features.dim, **overrides)
    folder = features.folder.subfolder("search", index_name(None))
    quantiser, name, digest = None, None, ""
    if kind != "exact":
        faiss.omp_set_num_threads(1)  # threads cost more than they save on so few vectors
        quantiser = train(vectors, settings, counts)
        digest = quantiser_digest(quantiser)
        name = f"quantiser-{digest[:16]}.safetensors"
        folder.write_atomically(name, quantiser)
    shards = {}
    for group in shard_groups(files, files.names, per_shard):
        identities = {file: file_identity(files, file) for file in group}
        key = shard_key(features.manifest.fingerprint, None, identities, settings, digest)
        os.makedirs(folder.at("shards", key))
        shards[key] = write_shard(features, group, folder.at("shards", key), settings, quantiser)
    entry = IndexEntry(settings=settings, quantiser=name, quantiser_digest=digest, shards=shards)
    IndexManifest(fingerprint=features.manifest.fingerprint, indexes={"all": entry}).write(features.folder)
    return settings

"""The cost of ranking: `qpert evaluate` against the bare matrix product, and against sorting the full matrix.

The features are simulated: random unit vectors, and texts close to one of their photo's. Each way
(`evaluation_ways.py`) runs in a process of its own, which reports its peak memory. The product runs before and after,
to reveal other load on the machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.benchmarks.evaluation_ways import TEXTS, image_of_text
from pipeline.errors import QpertError
from pipeline.features.manifest import Manifest
from pipeline.features.schema import features_schema
from pipeline.features.store import FeatureStore
from pipeline.retrieval.similarity import unit

_BLOCK = 256
_NOISE = 1.0
"""Length of the noise in a text, against 1 for its photo's vector: most right answers rank first, but not all."""
_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


@dataclass(frozen=True)
class Sizes:
    """A simulated data set: photos, texts, V vectors per photo of length D."""

    images: int
    texts: int
    vectors: int
    dim: int


@dataclass(frozen=True)
class Cost:
    """The cost of one way: seconds, CPU seconds of all threads, and peak memory of its process in bytes."""

    seconds: float
    cpu: float
    peak: int
    t2i: float | None = None
    i2t: float | None = None
    """Recall@1, to show that both ways of ranking agree."""

    def __str__(self) -> str:
        return f"{self.seconds:8.1f} s  {self.cpu:8.1f} s CPU  {self.peak / 2**20:7,.0f} MiB at most"


@dataclass(frozen=True)
class EvaluationCosts:
    """All costs. `argsort` is measured on `argsort_sizes`, smaller if the full matrix does not fit into memory."""

    sizes: Sizes
    threads: int
    product: Cost
    product_again: Cost
    ranking: Cost
    argsort: Cost
    argsort_sizes: Sizes

    @property
    def ratio(self) -> float:
        """Seconds of the ranking divided by those of the product (the mean of before and after)."""
        return 2 * self.ranking.seconds / (self.product.seconds + self.product_again.seconds)

    @property
    def cpu_ratio(self) -> float:
        """The same for CPU seconds, which depend less on other load."""
        return 2 * self.ranking.cpu / (self.product.cpu + self.product_again.cpu)

    def __str__(self) -> str:
        sizes, smaller = self.sizes, self.argsort_sizes
        return (
            f"{sizes.images:,} photos x {sizes.texts:,} captions, {sizes.vectors} vectors of {sizes.dim} per photo,"
            f" {self.threads} threads\n"
            f"  matrix product  {self.product}   before\n"
            f"  matrix product  {self.product_again}   after\n"
            f"  qpert evaluate  {self.ranking}   {self.ratio:.2f} of the product's time,"
            f" {self.cpu_ratio:.2f} of its CPU time\n"
            f"  argsort         {self.argsort}   the full matrix, every row and column sorted"
            + ("" if smaller == sizes else f"; only {smaller.images:,} x {smaller.texts:,}, for lack of memory")
        )


def measure_evaluation(sizes: Sizes, folder: Path, *, threads: int | None = None) -> EvaluationCosts:
    """Write simulated features below `folder`, and measure all three ways on them.

    Args:
        sizes: of the data set; at least one text for each photo.
        folder: an empty folder.
        threads: for linear algebra; None for all cores.

    Raises:
        QpertError: fewer texts than photos, or a way failed, for lack of memory for example.
    """
    if sizes.texts < sizes.images:
        raise QpertError(f"every photo needs a text: {sizes.images} photos, {sizes.texts} texts")
    threads = threads or os.cpu_count() or 1
    whole = folder / "features"
    write_simulated(sizes, whole)
    before, ranking, after = (_run(way, whole, threads) for way in ("product", "ranking", "product"))
    smaller = fitting(sizes, psutil.virtual_memory().available)
    if smaller != sizes:
        whole = folder / "smaller"
        write_simulated(smaller, whole)
    return EvaluationCosts(sizes, threads, before, after, ranking, _run("argsort", whole, threads), smaller)


def fitting(sizes: Sizes, memory: int) -> Sizes:
    """The largest sizes for which the full matrix and working memory take at most half of `memory` bytes."""
    needed = 4 * sizes.images * sizes.texts + 2**29
    if needed <= memory / 2:
        return sizes
    share = (max(0.0, memory / 2 - 2**29) / (4 * sizes.images * sizes.texts)) ** 0.5
    images = max(1, int(sizes.images * share))
    return replace(sizes, images=images, texts=max(images, int(sizes.texts * share)))


def write_simulated(sizes: Sizes, out: Path) -> None:
    """Write a feature set to `out`, and the vectors of its texts to `texts.npy`, from a fixed seed."""
    generator = np.random.default_rng(0)
    owners = image_of_text(sizes.images, sizes.texts)
    texts = generator.standard_normal((sizes.texts, sizes.dim), np.float32) * np.float32(_NOISE / sizes.dim**0.5)
    schema = features_schema()
    store = FeatureStore(str(out))
    (out / store.FEATURES).mkdir(parents=True)
    with pq.ParquetWriter(out / store.FEATURES / "simulated-000000.parquet", schema) as writer:
        for start in range(0, sizes.images, _BLOCK):
            count = min(_BLOCK, sizes.images - start)
            vectors = unit(generator.standard_normal((count, sizes.vectors, sizes.dim), np.float32), "the simulation")
            low, high = np.searchsorted(owners, [start, start + count])
            shown = generator.integers(0, sizes.vectors, high - low)
            texts[low:high] += vectors[owners[low:high] - start, shown]
            writer.write_table(_table(start, vectors, schema))
    np.save(out / TEXTS, unit(texts, "the simulation"))
    manifest = Manifest(state="complete", fingerprint="simulated", vectors=sizes.vectors, dim=sizes.dim)
    store.write_manifest(manifest)


def _table(start: int, vectors: np.ndarray, schema: pa.Schema) -> pa.Table:
    count, cells = len(vectors), vectors[0].size
    names = [f"{number:08d}.jpg" for number in range(start, start + count)]
    starts = pa.array(np.arange(count + 1) * cells, pa.int32())
    embedding = pa.ListArray.from_arrays(starts, pa.array(vectors.astype(np.float16).ravel()))
    columns = {"image_id": names, "uri": names, "embedding": embedding}
    arrays = [pa.nulls(count, field.type) if field.name not in columns else columns[field.name] for field in schema]
    return pa.Table.from_arrays(
        [array if isinstance(array, pa.Array) else pa.array(array) for array in arrays], schema=schema
    )


def _run(way: str, folder: Path, threads: int) -> Cost:
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    environment = os.environ | dict.fromkeys(_THREADS, str(threads)) | {"PYTHONPATH": path}
    command = [sys.executable, "-m", "pipeline.benchmarks.evaluation_ways", way, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise QpertError(f"the measurement of {way} failed, perhaps for lack of memory: {reason}")
    return Cost(**json.loads(done.stdout))

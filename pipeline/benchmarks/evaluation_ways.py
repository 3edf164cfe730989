"""Three ways to compute the same similarities, each run in a process of its own: `python -m` this, WAY and FOLDER.

    product    the bare blocked matrix product: every photo's vectors times every text, tile by tile, then discarded
    ranking    what `qpert evaluate` does: reads the features twice, best of V, ranks in both directions, the report
    argsort    the common way: the full score matrix, each row and column sorted, the first answer looked up

Prints seconds, peak memory of the process and, if there is one, Recall@1 as JSON.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.datasets.captioned_image import CaptionedImage
from pipeline.features.feature_set import FeatureSet
from pipeline.retrieval.evaluation import evaluate
from pipeline.retrieval.ranks import Ints
from pipeline.retrieval.similarity import Float32, image_scores, texts_per_tile, tile_shape, vector_blocks

TEXTS = "texts.npy"


def image_of_text(images: int, texts: int) -> Ints:
    """The photo of each simulated text, [texts]: texts are divided evenly among the photos."""
    return np.arange(texts) * images // texts


class Stopwatch:
    """Adds up the seconds of the blocks it is used on: wall-clock time, and CPU time of all threads."""

    def __init__(self) -> None:
        self.seconds = self.cpu = 0.0

    def times(self) -> dict[str, Any]:
        """The sums, as arguments of `Cost`."""
        return {"seconds": self.seconds, "cpu": self.cpu}

    def __enter__(self) -> None:
        self._started = time.perf_counter(), time.process_time()

    def __exit__(self, *exception: object) -> None:
        self.seconds += time.perf_counter() - self._started[0]
        self.cpu += time.process_time() - self._started[1]


def product(features: FeatureSet, texts: Float32) -> dict[str, Any]:
    """Time the matrix product alone, in the tiles of the ranking, without reading and normalising."""
    watch = Stopwatch()
    for _, vectors in vector_blocks(features):
        flat, (photos, step) = vectors.reshape(-1, vectors.shape[-1]), tile_shape(vectors, texts)
        rows = photos * vectors.shape[1]
        out = np.empty(rows * step, np.float32)
        with watch:
            for start in range(0, len(texts), step):
                part = texts[start : start + step].T
                for first in range(0, len(flat), rows):
                    tile = flat[first : first + rows]
                    np.matmul(tile, part, out=out[: len(tile) * part.shape[1]].reshape(len(tile), -1))
    return watch.times()


def ranking(features: FeatureSet, texts: Float32) -> dict[str, Any]:
    """Time `evaluate` with texts that are already embedded."""
    ids = features.ids
    owners = image_of_text(len(ids), len(texts))
    captions: list[list[str]] = [[] for _ in ids]
    for number, owner in enumerate(owners.tolist()):
        captions[owner].append(str(number))
    images = [CaptionedImage(name, texts_of) for name, texts_of in zip(ids, captions, strict=True)]
    watch = Stopwatch()
    with watch:
        report = evaluate(features, images, lambda names: texts, ks=(1,)).report
    return watch.times() | {"t2i": report.t2i.overall[1], "i2t": report.i2t.overall[1]}


def argsort(features: FeatureSet, texts: Float32) -> dict[str, Any]:
    """Time the full matrix, made block by block, and its sorting, without reading."""
    images = len(features)
    owners = image_of_text(images, len(texts))
    scores = np.empty((images, len(texts)), np.float32)
    watch, row = Stopwatch(), 0
    for _, vectors in vector_blocks(features):
        step = texts_per_tile(vectors)
        rows = slice(row, row + len(vectors))
        with watch:
            for start in range(0, len(texts), step):
                scores[rows, start : start + step] = image_scores(vectors, texts[start : start + step])
        row += len(vectors)
    with watch:
        first_image = [np.argsort(column)[::-1][0] for column in scores.T]
        first_text = [np.argsort(line)[::-1][0] for line in scores]
    t2i = float(np.mean(np.array(first_image) == owners))
    i2t = float(np.mean(owners[first_text] == np.arange(images)))
    return watch.times() | {"t2i": t2i, "i2t": i2t}


def peak_memory() -> int:
    """Peak memory of this process, in bytes.

    Linux' `ru_maxrss` is inherited from the process that started this one, so its own high-water mark is read instead.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def main(way: str, folder: str) -> None:
    """Run one way on the features in `folder`."""
    ways = {"product": product, "ranking": ranking, "argsort": argsort}
    features = FeatureSet.open(folder)
    cost = ways[way](features, np.load(Path(folder) / TEXTS))
    print(json.dumps(cost | {"peak": peak_memory()}))


if __name__ == "__main__":
    main(*sys.argv[1:])

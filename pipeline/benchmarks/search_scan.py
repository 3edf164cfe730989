"""The exact scan beside what it cannot do without: all half floats through a memory map, and a matrix product."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.benchmarks.search_engines import Qpert
from pipeline.retrieval.similarity import Float32

_ROWS = 1 << 15
"""Vectors that are converted and multiplied at once."""


@dataclass(frozen=True)
class ScanRates:
    """Photos per second of one query, the medians of the repetitions.

    Attributes:
        scan: of the exact search.
        product: of a bare product over the memory-mapped half floats, best of V included.
    """

    scan: float
    product: float

    @property
    def ratio(self) -> float:
        """How many times as fast as the bare product the scan is."""
        return self.scan / self.product


def measure_scan(root: Path, texts: Float32, repetitions: int = 3) -> ScanRates | None:
    """Measures both in turn, after one warm-up of each; None where the vectors are not kept in raw files.

    Args:
        root: a feature set, all of whose photos have V vectors.
        texts: [T, D], asked in turn.
        repetitions: of each.
    """
    engine = Qpert(root, exact=True)
    files = sorted(root.glob("search/*/shards/*/vectors.npy"))
    snapshot = engine.snapshot
    count = snapshot.features.vectors
    if sum(len(np.load(file, mmap_mode="r")) for file in files) != count * len(snapshot.photos):
        return None
    seconds: tuple[list[float], list[float]] = ([], [])
    for repetition in range(repetitions + 1):
        text = texts[repetition % len(texts)]
        start = time.perf_counter()
        engine.search(text)
        between = time.perf_counter()
        bare_product(files, text, count)
        end = time.perf_counter()
        if repetition:
            seconds[0].append(between - start)
            seconds[1].append(end - between)
    return ScanRates(*(len(snapshot.photos) / float(np.median(times)) for times in seconds))


def bare_product(files: Sequence[Path], text: Float32, count: int) -> Float32:
    """The highest product [N] of each photo's `count` vectors with a text, from memory-mapped files."""
    best = []
    rows = max(1, _ROWS // count) * count
    for file in files:
        vectors = np.load(file, mmap_mode="r")
        for start in range(0, len(vectors), rows):
            part = vectors[start : start + rows].astype(np.float32)
            best.append((part @ text).reshape(-1, count).max(axis=1))
    return np.concatenate(best)

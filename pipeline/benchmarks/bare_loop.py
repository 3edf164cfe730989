"""The baseline for the pipeline: the same work in a plain loop in one process.

Reads and decodes photos, detects and encodes in batches, and keeps the embeddings in memory. No error handling, no
writing, no resume: what a careful person would write for one folder of good photos.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from pipeline.detectors import Detector
from pipeline.encoders.base import Encoder
from pipeline.io.images import decode
from pipeline.method.settings import Perturbation


@torch.inference_mode()
def bare_loop(
    paths: Sequence[str],
    encoder: Encoder,
    detector: Detector | None,
    perturbation: Perturbation | None,
    *,
    batch: int,
    threads: int,
) -> float:
    """Photos per second over `paths`, not counting the first batch, which warms up.

    Args:
        paths: local photos that can be decoded.
        encoder: the encoder.
        detector: the detector; None encodes without objects.
        perturbation: how objects act on the embedding; None ignores them.
        batch: photos per batch.
        threads: torch's CPU threads, restored afterwards.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    started = 0.0
    kept = []
    try:
        for first in range(0, len(paths), batch):
            if first == batch:
                started = time.perf_counter()
            images = []
            for path in paths[first : first + batch]:
                with open(path, "rb") as file:
                    images.append(decode(file.read()))
            objects = detector.detect(paths[first : first + batch], images) if detector is not None else None
            pixels = torch.stack([encoder.preprocess(image) for image in images])
            tokens = encoder.backbone(pixels)
            embedding = encoder.embed(tokens, objects, perturbation) if objects else encoder.embed(tokens)
            kept.append(embedding.half().cpu())
        seconds = time.perf_counter() - started
    finally:
        torch.set_num_threads(before)
    if len(paths) <= batch:
        raise ValueError(f"{len(paths)} photos do not exceed the batch of {batch} that warms up")
    return (len(paths) - batch) / seconds

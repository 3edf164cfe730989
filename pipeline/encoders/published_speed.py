"""Images per second that others have published, to judge what a model of other size would take on such a GPU."""

from __future__ import annotations

from pipeline.encoders.open_clip.table import open_clip_models

A100 = {"ViT-B-32": 2500, "ViT-B-16": 1100, "ViT-L-14": 312}
"""Images per second of clip-retrieval's inference on one A100: docs/distributed_clip_inference.md of that project."""


def teraflops() -> tuple[float, float]:
    """Fewest and most 10^12 floating-point operations per second that these runs reached with the image tower."""
    reached = [rate * open_clip_models()[name].gigaflops / 1000 for name, rate in A100.items()]
    return min(reached), max(reached)


def a100_rates(gigaflops: float) -> tuple[float, float]:
    """Images per second of one A100 at the fewest and the most operations per second of these runs.

    Not a measurement: it holds for models like those, without objects, if nothing but the model limits the run.

    Args:
        gigaflops: 10^9 operations for one photo.
    """
    least, most = teraflops()
    return 1000 * least / gigaflops, 1000 * most / gigaflops
